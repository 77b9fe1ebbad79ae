"""Threshold alarms: the vectors of ISA-18.2 practice, quality, links."""

import pytest
from pydantic import ValidationError

from assets.definition import Item
from assets.frame import Flag, Frame, Tick
from assets.status import BAD_SENSOR_FAILURE
from operators.alarm import Alarm
from operators.rules import Rules
from tests.streams import S, definition, frame, run, said, tick

RULE = {"rule": "alarm", "item": "temperature", "above": 100.0, "clear_below": 98.0}
DELAYED = {**RULE, "on_delay": 5 * S, "off_delay": 10 * S}


def stream(rule: dict[str, object], text: str) -> list[Frame | Tick]:
    """`50@0 101@10` as frames, behind a definition and an available link."""
    begin = frame(0, ("_model", definition(overheat=rule).value()), ("_availability", "AVAILABLE"))
    samples = [part.split("@") for part in text.split()]
    return [begin, *(frame(float(at), ("temperature", float(value))) for value, at in samples)]


def test_delays_count_from_the_first_sample_beyond_the_limit() -> None:
    text = "50@0 101@10 99@12 102@20 103@24 99@40 97@41 99@43 96@50 96@70"
    events = run(Rules, stream(DELAYED, text))
    assert said(events, "overheat") == [("CLEAR", 0), ("ACTIVE", 25), ("CLEAR", 60)]


def test_a_tick_fires_what_is_due_at_its_deadline() -> None:
    events = run(Rules, [*stream(DELAYED, "101@10"), tick(14.9, "s"), tick(15.5, "s")])
    assert said(events, "overheat") == [("ACTIVE", 15)]
    assert events[-1].basis == (0, 3, 0)


def test_a_tick_of_another_source_fires_nothing() -> None:
    events = run(Rules, [*stream(DELAYED, "101@10"), tick(60, "m")])
    assert said(events, "overheat") == []


def test_equal_to_the_limit_does_not_activate() -> None:
    assert said(run(Rules, stream(RULE, "100@1 100@2")), "overheat") == [("CLEAR", 1)]


def test_an_interval_bears_what_it_ended() -> None:
    event = run(Rules, stream(RULE, "50@1 101@3 97@10"))[-1]
    assert (event.value, event.previous, event.since, event.until, event.duration) == (
        "CLEAR",
        "ACTIVE",
        3 * S,
        10 * S,
        7 * S,
    )
    assert (event.operator, event.operator_version, event.id) == ("alarm", 1, "0:3:0:overheat:0")


def test_bad_quality_freezes_and_drops_what_is_pending() -> None:
    bad = frame(12, ("temperature", None, BAD_SENSOR_FAILURE))
    events = run(Rules, [*stream(DELAYED, "101@10"), bad, frame(20, ("temperature", 101.0)), tick(24, "s")])
    assert said(events, "overheat") == []


def test_a_lost_link_drops_what_is_pending() -> None:
    lost = frame(12, ("_availability", "UNAVAILABLE"))
    assert said(run(Rules, [*stream(DELAYED, "101@10"), lost, tick(60, "s")]), "overheat") == []


def test_a_late_sample_changes_nothing() -> None:
    late = frame(20, ("temperature", 200.0, 0, 4))
    assert said(run(Rules, [*stream(RULE, "50@10"), late]), "overheat") == [("CLEAR", 10)]


def test_a_value_without_a_device_time_is_not_late_when_the_gateways_clock_was_set_back() -> None:
    events = run(Rules, stream(RULE, "101@3600 97@10 101@11"))
    assert said(events, "overheat") == [("ACTIVE", 3600), ("CLEAR", 3600), ("ACTIVE", 3600)]
    flagged = frame(10, ("temperature", 97.0, 0, None, int(Flag.SUBSTITUTED)))
    assert said(run(Rules, [*stream(RULE, "101@3600"), flagged]), "overheat")[-1] == ("CLEAR", 3600)


def test_a_first_value_after_a_reconnect_counts_though_its_source_time_is_old() -> None:
    first = frame(20, ("temperature", 200.0, 0, 4, int(Flag.INITIAL)))
    assert said(run(Rules, [*stream(RULE, "50@10"), first]), "overheat") == [("CLEAR", 10), ("ACTIVE", 10)]


def test_a_key_frame_repeats_what_is_known() -> None:
    repeated = frame(20, ("temperature", 200.0, 0, 9, int(Flag.KEYFRAME)))
    assert said(run(Rules, [*stream(RULE, "50@10"), repeated]), "overheat") == [("CLEAR", 10)]


def test_an_alarm_below_its_limit() -> None:
    rule = {"rule": "alarm", "item": "temperature", "below": 10.0, "clear_above": 12.0}
    events = run(Rules, stream(rule, "20@1 9@2 11@3 13@4"))
    assert said(events, "overheat") == [("CLEAR", 1), ("ACTIVE", 2), ("CLEAR", 4)]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "give either above or below"),
        ({"above": 1, "below": 0}, "give either above or below"),
        ({"above": 1, "clear_above": 0}, "clear_below goes with above"),
        ({"above": 1, "clear_below": 2}, "clear_below must not lie above the limit"),
        ({"below": 1, "clear_above": 0}, "clear_above must not lie below the limit"),
        ({"above": 1, "on_delay": 5}, "expected a duration such as"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Alarm.model_validate({"item": "temperature", **options})


def test_an_alarm_watches_samples_only() -> None:
    with pytest.raises(ValueError, match="an alarm watches a SAMPLE; the item is an EVENT"):
        Alarm.check_item(Item(category="EVENT", source="s", address="a"))
