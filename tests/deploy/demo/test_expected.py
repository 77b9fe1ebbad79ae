from typing import Any

from deploy.demo.expected import Doubt, differences, doubts, expected_changes
from deploy.demo.physics import SECOND_US
from deploy.demo.truth import Line

BAD = 0x808C0000
HOURS_3 = 3 * 3600 * SECOND_US


def served(asset: str, item: str, *values: tuple[float, Any], source: str = "opcua-1") -> list[Line]:
    """Lines of one item from (second, value) pairs; None is a Bad value."""
    return [
        {
            "kind": "served",
            "source": source,
            "asset": asset,
            "item": item,
            "value": value,
            "status": BAD if value is None else 0,
            "source_time": round(second * SECOND_US),
            "at": round(second * SECOND_US),
        }
        for second, value in values
    ]


def fault(kind: str, target: str, begin: int, end: int | None) -> Line:
    return {"kind": "fault", "fault": kind, "target": target, "from": begin * SECOND_US, "to": end and end * SECOND_US}


def metric(name: str, lines: list[Line], since_s: int = 0) -> list[tuple[Any, float]]:
    start: Line = {"kind": "start", "at": 0}
    end: Line = {"kind": "end", "at": 100 * SECOND_US}
    changes = expected_changes([start, *lines, end], since_s * SECOND_US)
    return [(value, at / SECOND_US) for _, each, value, at in changes if each == name]


def test_an_alarm_waits_for_its_delay_and_clears_below_the_lower_limit() -> None:
    lines = served("press-01", "temperature", (0, 50), (10, 91), (12, 89), (20, 95), (30, 85), (40, 80), (41, 79.5))
    assert metric("overheat", lines) == [("CLEAR", 0.0), ("ACTIVE", 25.0), ("CLEAR", 41.0)]


def test_a_pending_alarm_keeps_its_deadline_and_is_dropped_when_the_value_returns() -> None:
    dropped = served("press-01", "temperature", (10, 91), (12, 95), (14.9, 90), (50, 50))
    assert metric("overheat", dropped) == [("CLEAR", 14.9)]
    kept = served("press-01", "temperature", (10, 91), (14.9, 95), (15, 60))
    assert metric("overheat", kept) == [("ACTIVE", 15.0), ("CLEAR", 15.0)]


def test_a_bad_value_cancels_a_pending_alarm_and_freezes_an_active_one() -> None:
    pending = served("press-01", "temperature", (10, 91), (12, None), (16, 92), (20.9, 93), (50, 94))
    assert metric("overheat", pending) == [("ACTIVE", 21.0)]
    active = served("press-01", "temperature", (10, 91), (20, None), (30, 95), (40, 70))
    assert metric("overheat", active) == [("ACTIVE", 15.0), ("CLEAR", 40.0)]


def test_an_alarm_still_pending_at_the_end_of_the_truth_is_not_expected() -> None:
    assert metric("overheat", served("press-01", "temperature", (97, 95))) == []


def test_values_within_the_deadband_are_no_news() -> None:
    lines = served("press-01", "temperature", (10, 89.9), (11, 90.05), (12, 90.11))
    assert metric("overheat", lines) == [("CLEAR", 10.0), ("ACTIVE", 17.0)]


def test_durations_change_with_the_value_by_name_and_end_where_nobody_knows() -> None:
    lines = served("press-01", "state", (1, 4), (2, 3), (3, 6), (4, 6), (9, None), (12, 6))
    assert metric("running", lines) == [("Idle", 1), ("Starting", 2), ("Execute", 3), (None, 9), ("Execute", 12)]


def test_a_conveyors_states_have_their_names() -> None:
    lines: list[Line] = [
        {"kind": "register", "source": "modbus-2/1", "asset": "conveyor-01", "item": "state", "value": value, "at": at}
        for value, at in ((1, 0), (2, 7 * SECOND_US))
    ]
    assert metric("running", lines) == [("Running", 0), ("Jammed", 7)]


def test_a_restart_makes_everything_unknown_and_the_asset_unavailable() -> None:
    lines = [
        *served("press-01", "state", (0, 6), (32, 10), (40, 11)),
        fault("restart", "opcua-1", 30, None),
        fault("restart", "opcua-1", 30, 34),
    ]
    assert metric("running", lines) == [("Execute", 0), (None, 30), ("Holding", 34), ("Held", 40)]
    assert metric("availability", lines) == [("AVAILABLE", 0), ("UNAVAILABLE", 30), ("AVAILABLE", 34)]
    assert doubts(lines) == [Doubt("press-01", 30 * SECOND_US, 49 * SECOND_US)]


def test_a_dead_meter_does_not_make_its_press_unavailable() -> None:
    meter: Line = {
        "kind": "register",
        "source": "modbus-1/2",
        "asset": "press-02",
        "item": "power",
        "value": 3,
        "at": 0,
    }
    lines = [*served("press-02", "state", (0, 6)), meter, fault("no_reply", "modbus-1/2", 24, 29)]
    assert metric("availability", lines) == [("AVAILABLE", 0)]
    assert metric("running", lines) == [("Execute", 0)]


def test_a_wrong_clock_is_not_believed() -> None:
    [line] = served("press-04", "state", (41, 6))
    line["source_time"] += HOURS_3
    assert metric("running", [line]) == [("Execute", 41)]


def test_what_was_told_before_anybody_listened_counts_as_told_then() -> None:
    lines = served("press-01", "state", (1, 4), (2, 3), (3, 6), (30, 13))
    assert metric("running", lines, since_s=10) == [("Execute", 10), ("Suspending", 30)]


def test_the_start_of_the_gateway_and_wrong_clocks_are_doubtful() -> None:
    lines = [*served("press-04", "state", (1, 4)), fault("clock_skew", "press-04", 40, 48)]
    assert doubts(lines, since_us=10 * SECOND_US) == [
        Doubt("press-04", 0, 13 * SECOND_US),
        Doubt("press-04", 39 * SECOND_US, 63 * SECOND_US),
    ]


def test_differences_name_what_must_be_and_leave_doubtful_spans_out() -> None:
    wanted = [("a", "m", 1, 10), ("a", "m", 2, 20), ("b", "m", 1, 10)]
    assert differences(wanted, wanted) == []
    assert differences(wanted, [("a", "m", 1, 12), ("a", "m", 2, 20), ("b", "m", 1, 8)], tolerance_us=2) == []
    assert differences(wanted, [("a", "m", 1, 10), ("a", "m", 3, 20)]) == [
        "a.m: change 2 must be 2@20; it is 3@20",
        "b.m: 1 changes expected, 0 found",
    ]
    assert differences(wanted, wanted[:1], leave_out=[Doubt("a", 15, 25), Doubt("b", 0, 99)]) == []
