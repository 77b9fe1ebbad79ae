"""State durations: intervals add up to the time observed, and no state outlives its quality or its link."""

from assets.frame import Flag, Frame, Tick
from assets.status import BAD_CONFIGURATION_ERROR, BAD_NO_COMMUNICATION, BAD_SENSOR_FAILURE
from operators.rules import Rules
from tests.streams import S, definition, frame, run, said, tick

BEGIN = frame(
    0,
    ("_model", definition(running={"rule": "durations", "item": "state"}).value()),
    ("_availability", "AVAILABLE"),
)


def stream(text: str) -> list[Frame | Tick]:
    """`Idle@10 Execute@20` as frames."""
    parts = [part.split("@") for part in text.split()]
    return [BEGIN, *(frame(float(at), ("state", value)) for value, at in parts)]


def test_each_change_bears_the_interval_that_ended() -> None:
    events = [e for e in run(Rules, stream("READY@0 ACTIVE@10 ACTIVE@30 INTERRUPTED@70")) if e.metric == "running"]
    assert [(e.value, e.previous, e.duration) for e in events] == [
        ("READY", None, None),
        ("ACTIVE", "READY", 10 * S),
        ("INTERRUPTED", "ACTIVE", 60 * S),
    ]


def test_intervals_add_up_to_the_time_observed() -> None:
    lost, back = frame(130, ("_availability", "UNAVAILABLE")), frame(160, ("_availability", "AVAILABLE"))
    records = [*stream("READY@0 ACTIVE@10 INTERRUPTED@70 ACTIVE@75"), lost, back, *stream("READY@160 ACTIVE@200")[1:]]
    seconds: dict[object, float] = {}
    for event in run(Rules, records):
        if event.metric == "running" and event.duration is not None:
            seconds[event.previous] = seconds.get(event.previous, 0) + event.duration / S
    assert seconds == {"READY": 50, "ACTIVE": 115, "INTERRUPTED": 5, None: 30}


def test_bad_quality_ends_the_state_at_once() -> None:
    bad = frame(30, ("state", None, BAD_SENSOR_FAILURE))
    event = run(Rules, [*stream("Execute@10"), bad])[-1]
    assert (event.value, event.previous, event.duration, event.status) == (
        None,
        "Execute",
        20 * S,
        BAD_SENSOR_FAILURE,
    )


def test_a_silent_gateway_ends_the_state_after_its_ttl() -> None:
    other = [tick(at, "other", gateway="gw-2") for at in range(10, 40)]
    events = run(Rules, [*stream("Execute@1"), tick(2, "s"), *other])
    assert said(events, "running") == [("Execute", 1), (None, 12)]
    assert events[-1].status == BAD_NO_COMMUNICATION


def test_the_state_after_an_outage_does_not_begin_before_its_end() -> None:
    lost, back = frame(20, ("_availability", "UNAVAILABLE")), frame(30, ("_availability", "AVAILABLE"))
    first = frame(30, ("state", "Execute", 0, 10, int(Flag.INITIAL)))
    assert said(run(Rules, [*stream("Execute@10"), lost, back, first]), "running") == [
        ("Execute", 10),
        (None, 20),
        ("Execute", 30),
    ]


def test_a_device_clock_behind_the_gateway_loses_no_change() -> None:
    behind = frame(12, ("state", "Held", 0, 9.5))
    back = frame(10, ("_availability", "UNAVAILABLE")), frame(11, ("_availability", "AVAILABLE"))
    assert said(run(Rules, [*stream("Execute@1"), *back, behind]), "running")[-1] == ("Held", 11)


def gap(at: float, start: float, end: float, *items: str) -> Frame:
    """A frame that says what could not be read."""
    value = {"items": list(items), "from": int(start * S), "to": int(end * S), "reason": "restart", "lost": None}
    return frame(at, ("_gap", value))


def test_no_state_is_carried_over_a_gap() -> None:
    records = [*stream("Execute@10"), gap(60, 20, 60, "state", "temperature"), frame(60, ("state", "Execute"))]
    assert said(run(Rules, records), "running") == [("Execute", 10), (None, 20), ("Execute", 60)]


def test_a_gap_of_other_items_ends_no_state() -> None:
    assert said(run(Rules, [*stream("Execute@10"), gap(60, 20, 60, "power")]), "running") == [("Execute", 10)]


def test_a_gap_that_is_told_after_newer_values_ends_no_state() -> None:
    assert said(run(Rules, [*stream("Execute@10 Held@70"), gap(71, 20, 60, "state")]), "running") == [
        ("Execute", 10),
        ("Held", 70),
    ]


def test_a_gap_that_cannot_be_read_is_passed_over() -> None:
    broken = frame(60, ("_gap", {"items": "state", "from": 1}))
    assert said(run(Rules, [*stream("Execute@10"), broken]), "running") == [("Execute", 10)]


def test_a_rule_that_is_removed_ends_its_metric() -> None:
    events = run(Rules, [*stream("Execute@10"), frame(20, ("_model", definition().value()))])
    assert said(events, "running") == [("Execute", 10), (None, 20)]


def test_a_rule_that_cannot_be_run_is_a_bad_metric_and_harms_no_other() -> None:
    rules: dict[str, dict[str, object]] = {
        "running": {"rule": "durations", "item": "state"},
        "newer": {"rule": "of-a-later-version", "item": "state"},
        "broken": {"rule": "alarm", "item": "temperature"},
    }
    records = [frame(0, ("_model", definition(**rules).value())), *stream("Execute@10")[1:]]
    events = run(Rules, records)
    assert said(events, "running") == [("Execute", 10)]
    for metric in ("newer", "broken"):
        assert [(e.value, e.status) for e in events if e.metric == metric] == [(None, BAD_CONFIGURATION_ERROR)]


def test_an_unchanged_rule_goes_on_when_another_one_is_added() -> None:
    more = definition(
        running={"rule": "durations", "item": "state"},
        overheat={"rule": "alarm", "item": "temperature", "above": 90.0},
    )
    events = run(Rules, [*stream("Execute@10"), frame(20, ("_model", more.value())), *stream("Held@30")[1:]])
    assert said(events, "running") == [("Execute", 10), ("Held", 30)]


def test_a_clock_that_was_skewed_loses_no_change_when_it_is_right_again() -> None:
    skewed = frame(20, ("state", "Held", 0, 9_999, int(Flag.CLOCK_SKEW)))
    right = frame(20.1, ("state", "Execute", 0, 19.95))
    assert said(run(Rules, [*stream("Execute@10"), skewed, right]), "running") == [
        ("Execute", 10),
        ("Held", 20),
        ("Execute", 20),
    ]
