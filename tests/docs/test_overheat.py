"""The example of an operator: hot after ten seconds above 90 Cel, wherever the stream is cut."""

import pytest

from assets.frame import Flag, Frame, Tick
from assets.status import BAD_SENSOR_FAILURE
from docs.examples.overheat import Overheat
from tests.streams import cut, definition, frame, run, said, tick

BEGIN = frame(0, ("_model", definition().value()), ("_availability", "AVAILABLE"))
STREAM: list[Frame | Tick] = [
    BEGIN,
    frame(1, ("temperature", 95.0)),
    frame(5, ("temperature", 89.0)),
    frame(10, ("temperature", 91.0)),
    frame(12, ("temperature", 93.0), ("state", "Execute")),
    tick(21, "s"),
    frame(30, ("temperature", 90.0)),
]


def test_it_is_hot_after_ten_seconds_without_a_break() -> None:
    assert said(run(Overheat, STREAM), "overheat") == [(True, 20), (False, 30)]


@pytest.mark.parametrize("at", range(len(STREAM)))
def test_a_stop_anywhere_changes_nothing(at: int) -> None:
    assert cut(Overheat, STREAM, [at]) == run(Overheat, STREAM)


def test_a_bad_value_is_no_heat() -> None:
    events = run(
        Overheat, [BEGIN, frame(1, ("temperature", 95.0)), frame(2, ("temperature", None, BAD_SENSOR_FAILURE))]
    )
    assert events == []


def test_a_key_frame_does_not_start_the_delay_anew() -> None:
    again = frame(9, ("temperature", 95.0, 0, 1, int(Flag.KEYFRAME)))
    assert said(run(Overheat, [BEGIN, frame(1, ("temperature", 95.0)), again, tick(12, "s")]), "overheat") == [
        (True, 11)
    ]
