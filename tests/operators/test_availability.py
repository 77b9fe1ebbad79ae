"""Availability and the clock of a partition: who is lost, when, and by whose time."""

from typing import Any

import pytest

from assets.frame import Flag, Frame, Tick
from operators._assets import Assets
from operators._links import Links
from operators.rules import Rules
from tests.streams import batch, cut, definition, frame, run, said, tick

MODEL = definition(availability={"rule": "availability"}).value()
HOUR = 3600.0


def begin(at: float = 0, asset: str = "press-01", gateway: str = "gw-1", source: str = "s") -> Frame:
    return frame(at, ("_model", MODEL), ("_availability", "AVAILABLE"), asset=asset, gateway=gateway, source=source)


def ticks(start: float, end: float, source: str = "s", gateway: str = "gw-1", run: int = 1) -> list[Tick]:
    """A tick each second."""
    return [tick(start + n, source, gateway=gateway, run=run) for n in range(int(end - start))]


def test_what_the_stream_says_is_what_is_derived() -> None:
    lost = frame(30, ("_availability", "UNAVAILABLE"))
    assert said(run(Rules, [begin(), lost]), "availability") == [("AVAILABLE", 0), ("UNAVAILABLE", 30)]


def test_the_link_of_a_foreign_source_does_not_matter() -> None:
    meter = frame(30, ("_availability", "UNAVAILABLE"), source="m")
    assert said(run(Rules, [begin(), meter]), "availability") == [("AVAILABLE", 0)]


def test_a_killed_gateway_is_noticed_while_another_one_lives() -> None:
    events = run(Rules, [begin(), *ticks(0, 20), *ticks(20, 40, "other", "gw-2")])
    assert said(events, "availability") == [("AVAILABLE", 0), ("UNAVAILABLE", 29)]


def test_when_all_gateways_are_dead_nothing_is_derived() -> None:
    restarted = ticks(5 * HOUR, 5 * HOUR + 5, run=2)
    events = run(Rules, [begin(), *ticks(0, 20), *restarted])
    assert said(events, "availability") == [("AVAILABLE", 0)]


def test_gateways_an_hour_apart_do_not_harm_each_other() -> None:
    mixed = [t for pair in zip(ticks(0, 60), ticks(HOUR, HOUR + 60, "x", "gw-2"), strict=True) for t in pair]
    assert said(run(Rules, [begin(), *mixed]), "availability") == [("AVAILABLE", 0)]


def test_the_loss_of_the_gateway_ahead_does_not_stop_the_clock() -> None:
    ahead = begin(HOUR, "press-02", "gw-2", "m")
    both = [t for pair in zip(ticks(0, 20), ticks(HOUR, HOUR + 20, "s2", "gw-2"), strict=True) for t in pair]
    events = run(Rules, [begin(), ahead, *both, *ticks(20, 40)])
    assert said(events, "availability")[0] == ("AVAILABLE", 0)
    assert "UNAVAILABLE" not in [value for value, _ in said(events, "availability")]


def test_a_gateway_whose_clock_leaps_kills_nobody() -> None:
    leap: list[Frame | Tick] = [begin(), *ticks(0, 5), *ticks(0, 5, "x", "gw-2"), tick(9 * HOUR, "x", gateway="gw-2")]
    events = run(Rules, [*leap, *ticks(5, 9)])
    assert said(events, "availability") == [("AVAILABLE", 0)]


def test_a_silent_source_that_is_named_again_is_back_without_further_words() -> None:
    gone = ticks(20, 40, "other", "gw-2")
    events = run(Rules, [begin(), *ticks(0, 20), *gone, tick(41, "s")])
    assert said(events, "availability") == [("AVAILABLE", 0), ("UNAVAILABLE", 29), ("AVAILABLE", 41)]


def test_an_unproved_source_is_accounted_but_not_alive() -> None:
    unproved = ticks(1, 30)
    for t in unproved:
        t.sources["s"].mark = None
    events = run(Rules, [begin(), *unproved])
    assert said(events, "availability") == [("AVAILABLE", 0), ("UNAVAILABLE", 10)]


def test_a_key_frame_does_not_revive_a_silent_source() -> None:
    repeated = frame(40, ("_availability", "AVAILABLE", 0, None, int(Flag.KEYFRAME)))
    events = run(Rules, [begin(), *ticks(0, 20), *ticks(20, 40, "other", "gw-2"), repeated])
    assert said(events, "availability") == [("AVAILABLE", 0), ("UNAVAILABLE", 29)]


def test_a_key_frame_tells_whoever_starts_in_the_middle() -> None:
    repeated = frame(40, ("_model", MODEL), ("_availability", "AVAILABLE", 0, None, int(Flag.KEYFRAME)))
    assert said(run(Rules, [repeated]), "availability") == [("AVAILABLE", 40)]


def test_a_gateway_that_dies_before_its_first_tick_is_lost_by_the_time_of_its_word() -> None:
    events = run(Rules, [begin(1000), *ticks(1000, 1040, "other", "gw-2")])
    assert said(events, "availability") == [("AVAILABLE", 1000), ("UNAVAILABLE", 1010)]


def test_sources_of_ever_new_names_are_forgotten_but_those_that_definitions_name() -> None:
    assets: Assets[Any] = Assets(0, "rules", Rules)
    offset = 0
    for n in range(600):
        records: list[Frame | Tick] = [begin(), tick(0, "m")] if not n else [tick(5 * n, "s", f"old-{n}")]
        assets.batch(batch(records, offset))
        offset += len(records)
    assert {"s", "m"} <= assets._links.sources.keys()
    assert len(assets._links.sources) <= 128, "sixty of the last five minutes, up to a power of two"


@pytest.mark.parametrize("word", ["tick", "AVAILABLE", "UNAVAILABLE"])
@pytest.mark.parametrize("cuts", [(), (150, 205, 210)])
def test_a_source_that_was_forgotten_returns_as_if_it_had_been_remembered(
    monkeypatch: pytest.MonkeyPatch, word: str, cuts: tuple[int, ...]
) -> None:
    """Its asset leaves it, others come and go for long, and then an asset is read from it again."""
    gone = frame(5, ("_removed", True))
    many = [tick(n, f"old-{n}", gateway="gw-2") for n in range(10, 1000, 5)]
    returns: dict[str, list[Frame | Tick]] = {
        "tick": [tick(1000, "s"), begin(1000.5)],
        "AVAILABLE": [begin(1000)],
        "UNAVAILABLE": [
            frame(1000, ("_model", MODEL), ("_availability", "UNAVAILABLE")),
            frame(1003, ("_availability", "AVAILABLE")),
        ],
    }
    rest = [tick(1004 + n, "x", gateway="gw-2") for n in range(40)]
    stream: list[Frame | Tick] = [begin(), tick(1, "s"), gone, *many, *returns[word], *rest]
    found = cut(Rules, stream, cuts)
    forgetful: Assets[Any] = Assets(0, "test", Rules)
    forgetful.batch(batch(stream[:-50]))
    assert "s" not in forgetful._links.sources
    monkeypatch.setattr(Links, "_forget_unused", lambda _: None)
    assert found == run(Rules, stream)
    assert len(said(found, "availability")) >= 4
