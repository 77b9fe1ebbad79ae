"""Normalization: exact cases from tests/cases/normalize, frames, links, gaps, key frames, and the account."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from assets import status as codes
from assets.frame import Flag, Observation, encode_frame
from assets.plant import Binding
from assets.reading import Gap, Link, Mark, Message, Reading, Readings
from operators.normalize import Accounted, Normalizer
from tests.operators.noon import (
    KEY,
    NOON,
    H,
    S,
    accounts,
    frame,
    frames,
    item,
    observations,
    readings,
    single,
    two_assets,
)

CASES = Path(__file__).parents[1] / "cases" / "normalize"
STATUS = {name: code for code, name in codes.NAMES.items()}
SKEWED = int(Flag.CLOCK_SKEW)


def cases() -> Iterator[Any]:
    for path in sorted(CASES.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text()):
            yield pytest.param(case, id=f"{path.stem}: {case['name']}")


def messages_of(case: dict[str, Any]) -> Iterator[Message]:
    for second, told in enumerate(case["readings"]):
        at = NOON + second * S
        if told == "lost":
            yield Link(at, False, "no reply within 2 s")
            yield Link(at + 1, True)
        elif told == "gap":
            yield Gap(["a"], at - S, at, "queue overflow")
        else:
            value, *rest = told
            if rest:
                rest[0] = STATUS[rest[0]]
            yield readings(at, Reading("a", value, *rest))


@pytest.mark.parametrize("case", list(cases()))
def test_case(case: dict[str, Any]) -> None:
    normalizer = single(**case["item"])
    said, rejected = normalizer.take(messages_of(case))
    seen = [[o.value, codes.name(o.status), o.source_time, o.flags] for o in observations(said)]
    expected = [[*told, *["Good", None, 0][len(told) - 1 :]] for told in case["published"]]
    assert repr(seen) == repr(expected)  # 1 and 1.0 differ

    (account,) = accounts(normalizer.take([Mark(NOON, True, 0)])[0])
    assert account.account.suppressed == case.get("suppressed", {})
    assert account.account.rejected == case.get("rejected", {})
    assert len(rejected) == sum(case.get("rejected", {}).values())


def test_what_was_read_together_of_one_asset_is_one_frame() -> None:
    bindings = {
        "1": [Binding("press-01", "temperature", item())],
        "2": [Binding("press-02", "temperature", item())],
        "3": [Binding("press-01", "force", item())],
    }
    message = readings(NOON, Reading("1", 80, 0, NOON - 7), Reading("2", 70), Reading("3", 5), Reading("1", 81))
    said, rejected = Normalizer("forming", bindings).take([message])
    assert not rejected
    assert said == [
        frame(
            "press-01",
            NOON,
            Observation("temperature", 80, 0, NOON - 7),
            Observation("force", 5),
            Observation("temperature", 81),
        ),
        frame("press-02", NOON, Observation("temperature", 70)),
    ]


def test_an_address_may_feed_items_of_several_assets_each_by_its_own_rules() -> None:
    bindings = {"1": [Binding("oven-1", "ambient", item(scale=0.1)), Binding("oven-2", "ambient", item(deadband=5.0))]}
    normalizer = Normalizer("forming", bindings)
    said, _ = normalizer.take([readings(NOON, Reading("1", 200)), readings(NOON + S, Reading("1", 203))])
    assert said == [
        frame("oven-1", NOON, Observation("ambient", 20.0)),
        frame("oven-2", NOON, Observation("ambient", 200)),
        frame("oven-1", NOON + S, Observation("ambient", 20.3)),
    ]
    (accounted,) = accounts(normalizer.take([Mark(NOON + S, True, 2)])[0])
    assert (accounted.account.received, accounted.account.published) == (4, 3)
    assert accounted.account.suppressed == {"deadband": 1}


def test_an_unknown_address_goes_to_the_dead_letters_with_all_it_takes_to_try_again() -> None:
    said, (rejected,) = single().take([readings(NOON, Reading("b", 1.5, 0, NOON - 1), clock=NOON - 3)])
    assert said == []
    assert rejected.reason == "unknown_item"
    assert rejected.detail == 'no item has the address "b"'
    assert rejected.origin == "forming/b/0/1"
    assert rejected.raw is not None
    assert msgspec.json.decode(rejected.raw, type=Readings) == readings(
        NOON, Reading("b", 1.5, 0, NOON - 1), clock=NOON - 3
    )


def test_what_an_item_cannot_hold_goes_to_the_dead_letters_as_the_device_said_it() -> None:
    _, (rejected,) = single().take([readings(NOON, Reading("a", "eighty"))])
    assert (rejected.reason, rejected.detail) == (
        "wrong_type",
        'item "x" of asset "press-01": expected a number; it is a text',
    )
    assert json.loads(rejected.raw or b"") == {
        "received": NOON,
        "readings": [["a", "eighty", 0, None, 0]],
        "clock": None,
    }


@pytest.mark.parametrize("value", ["x" * 262_000, ["x" * 262_000], "\n" * 140_000])
def test_a_value_that_fits_no_frame_is_rejected(value: Any) -> None:
    said, (rejected,) = single(category="EVENT").take([readings(NOON, Reading("a", value))])
    assert (said, rejected.reason) == ([], "too_large")


def test_a_value_that_just_fits_a_frame_is_published() -> None:
    said, rejected = single(category="EVENT").take([readings(NOON, Reading("a", "x" * 261_000))])
    assert not rejected
    assert len(encode_frame(frames(said)[0])) < 262_144


@pytest.mark.parametrize(
    "value", ["\ud800", object(), 10**5000, [10**5000], {1: {2}}], ids=lambda value: type(value).__name__
)
def test_values_that_nothing_can_carry_do_not_stop_the_flow(value: Any) -> None:
    _, rejected = single(category="CONDITION").take([readings(NOON, Reading("a", value)), Mark(NOON, True, 1)])
    assert all(letter.raw is not None for letter in rejected)


@pytest.mark.parametrize(
    ("clock", "source_time", "skewed"),
    [
        (None, NOON, False),
        (None, NOON + 5 * S, False),
        (None, NOON + 5 * S + 1, True),
        (None, NOON - 900 * H, False),  # old, and right
        (NOON - 5 * S, NOON, False),
        (NOON - 5 * S - 1, NOON, True),
        (NOON + 3 * H, NOON - H, True),
        (NOON, NOON + 6 * S, True),
        (NOON + 3 * H, None, False),  # nothing to doubt
    ],
)
def test_a_clock_too_far_from_the_gateways_is_flagged_and_its_time_kept(
    clock: int | None, source_time: int | None, skewed: bool
) -> None:
    said, _ = single().take([readings(NOON, Reading("a", 1, 0, source_time, 1), clock=clock)])
    assert observations(said) == [Observation("x", 1, 0, source_time, 1 | (SKEWED if skewed else 0))]


def test_a_link_is_told_for_every_asset_of_the_source() -> None:
    said, _ = two_assets().take([Link(NOON, False, "refused"), Link(NOON + S, True)])
    assert said == [
        frame("press-01", NOON, Observation("_availability", "UNAVAILABLE")),
        frame("press-02", NOON, Observation("_availability", "UNAVAILABLE")),
        frame("press-01", NOON + S, Observation("_availability", "AVAILABLE")),
        frame("press-02", NOON + S, Observation("_availability", "AVAILABLE")),
    ]


def gap_value(items: list[str], lost: int | None, reason: str = "no reply") -> dict[str, Any]:
    return {"items": items, "from": NOON, "to": NOON + S, "reason": reason, "lost": lost}


def test_a_gap_names_the_items_of_each_asset() -> None:
    said, _ = two_assets().take([Gap(["2", "1"], NOON, NOON + S, "no reply", 7)])
    assert said == [frame("press-01", NOON + S, Observation("_gap", gap_value(["temperature", "force"], 7)))]


def test_a_gap_of_the_whole_source_does_not_know_whose_values_were_lost() -> None:
    said, _ = two_assets().take([Gap([], NOON, NOON + S, "no reply", 7)])
    assert said == [
        frame("press-01", NOON + S, Observation("_gap", gap_value(["temperature", "force"], None))),
        frame("press-02", NOON + S, Observation("_gap", gap_value(["temperature"], None))),
    ]


def test_a_gap_of_an_unknown_address_concerns_no_asset() -> None:
    assert two_assets().take([Gap(["9"], NOON, NOON + S, "no reply", 7)]) == ([], [])


def test_the_first_key_frame_comes_with_the_first_mark_after_the_first_value() -> None:
    normalizer = two_assets()
    mark = Mark(NOON, True, 0)
    assert frames(normalizer.take([mark])[0]) == []
    said, _ = normalizer.take([Link(NOON, True), readings(NOON, Reading("1", 80, 0, NOON - 9, 1))])
    said, _ = normalizer.take([Mark(NOON + S, True, 0)])
    assert frames(said) == [
        frame(
            "press-01",
            NOON + S,
            Observation("_model", None, 0, None, KEY),
            Observation("_availability", "AVAILABLE", 0, None, KEY),
            Observation("temperature", 80, 0, NOON - 9, KEY),
        )
    ]
    assert isinstance(said[-1], Accounted)  # the mark promises that all before it precedes
    assert frames(normalizer.take([Mark(NOON + 2 * S, True, 0)])[0]) == []


def test_a_key_frame_repeats_what_was_published_and_keeps_the_doubt_about_its_clock() -> None:
    normalizer = single(deadband=1.0)
    told = [readings(NOON, Reading("a", 80, 0, NOON + H, int(Flag.OVERFLOW))), readings(NOON + S, Reading("a", 80.5))]
    normalizer.take(told)
    said, _ = normalizer.take([Mark(NOON + S, True, 2)])
    assert frames(said)[0].observations[-1] == Observation("x", 80, 0, NOON + H, KEY | SKEWED)


def test_key_frames_come_every_interval_at_an_instant_of_the_assets_own() -> None:
    normalizer = two_assets()
    normalizer.take([readings(NOON, Reading("1", 1), Reading("3", 1))])
    at: dict[str, list[int]] = {"press-01": [], "press-02": []}
    for second in range(0, 3 * 3600 + 1, 10):
        for told in frames(normalizer.take([Mark(NOON + second * S, True, 2)])[0]):
            at[told.asset].append(second)
    assert at["press-01"][0] == at["press-02"][0] == 0
    assert [b - a for a, b in zip(at["press-01"][1:], at["press-01"][2:], strict=False)] == [3600, 3600]
    assert [len(seconds) for seconds in at.values()] == [4, 4]
    assert at["press-01"][1] != at["press-02"][1]


def test_a_clock_set_back_stops_neither_key_frames_nor_heartbeats() -> None:
    normalizer = single(heartbeat=10 * S)
    normalizer.take([readings(NOON + 900 * H, Reading("a", 1)), Mark(NOON + 900 * H, True, 1)])
    said, _ = normalizer.take([readings(NOON, Reading("a", 1)), Mark(NOON, True, 2), Mark(NOON + S, True, 2)])
    assert [(told.received, told.observations[-1].flags) for told in frames(said)] == [(NOON, 0), (NOON, KEY)]


def test_a_gap_is_said_after_what_came_before_it() -> None:
    normalizer = single()
    said, _ = normalizer.take([readings(NOON + 9 * S, Reading("a", 1)), Gap([], NOON, NOON + S, "queue overflow")])
    assert [told.received for told in frames(said)] == [NOON + 9 * S, NOON + 9 * S]


def test_an_asset_that_never_answered_still_gets_its_key_frames() -> None:
    normalizer = two_assets()
    normalizer.take([Link(NOON, False, "refused"), Mark(NOON, False, 0)])
    told = frames(normalizer.take([Mark(NOON + H, False, 0)])[0])
    assert [o.item for o in told[0].observations] == ["_model", "_availability"]


def test_an_account_says_what_became_of_every_reading() -> None:
    normalizer = two_assets()
    normalizer.take([readings(NOON, Reading("1", 1), Reading("1", 1), Reading("9", 1), Reading("3", "x"))])
    said, _ = normalizer.take([Mark(NOON, True, 4, 2), Mark(NOON + S, False, 4, 2)])
    first, second = accounts(said)
    assert msgspec.to_builtins(first) == {
        "source": "forming",
        "at": NOON,
        "account": {
            "mark": NOON,
            "received": 4,
            "published": 1,
            "suppressed": {"unchanged": 1},
            "rejected": {"unknown_item": 1, "wrong_type": 1},
            "lost": 2,
        },
        "last": False,
        "handed": 0,
    }
    assert second.account.mark is None  # not proved
    normalizer.take([readings(NOON, Reading("1", 1))])
    assert first.account.suppressed == {"unchanged": 1}  # an account is of its instant


def test_an_account_says_since_when_losses_were_not_told() -> None:
    told, losing = accounts(single().take([Mark(NOON, True, 0), Mark(NOON + S, True, 0, 3, untold_since=NOON)])[0])
    assert (told.account.untold_since, losing.account.untold_since) == (None, NOON)


def test_the_last_mark_of_a_source_says_so() -> None:
    (accounted,) = accounts(single().take([Mark(NOON, True, 0, last=True)])[0])
    assert accounted.last


def test_a_new_run_goes_on_from_what_the_last_one_published() -> None:
    normalizer = single(category="EVENT")
    normalizer.seed({("press-01", "x"): Observation("x", "open", 0, NOON - 50 * S)}, NOON - 20 * S)
    replayed, initial = int(Flag.REPLAYED), int(Flag.INITIAL)
    told = [
        readings(NOON, Reading("a", "open", 0, NOON - 50 * S, replayed)),
        readings(NOON + S, Reading("a", "open", 0, NOON - 50 * S, initial)),
        readings(NOON + 2 * S, Reading("a", "shut", 0, NOON + S)),
    ]
    said, _ = normalizer.take([*told, Mark(NOON + 3 * S, True, 3)])
    value = {"items": ["x"], "from": NOON - 20 * S, "to": NOON, "reason": "the gateway was not running", "lost": None}
    assert frames(said)[:3] == [
        frame("press-01", NOON, Observation("_gap", value)),
        frame("press-01", NOON + S, Observation("x", "open", 0, NOON - 50 * S, initial | int(Flag.REDELIVERED))),
        frame("press-01", NOON + 2 * S, Observation("x", "shut", 0, NOON + S)),
    ]
    assert accounts(said)[0].account.suppressed == {"redelivered": 1}


def test_a_clock_set_back_between_two_runs_leaves_a_gap_without_length() -> None:
    normalizer = single()
    normalizer.seed({("press-01", "x"): Observation("x", 5)}, NOON)
    said, _ = normalizer.take([readings(NOON - H, Reading("a", 6))])
    reason = "the gateway was not running, and its clock was set back"
    value = {"items": ["x"], "from": NOON, "to": NOON, "reason": reason, "lost": None}
    assert frames(said) == [
        frame("press-01", NOON - H, Observation("_gap", value)),
        frame("press-01", NOON - H, Observation("x", 6)),
    ]


def test_no_gap_ends_before_it_begins_when_the_clock_was_set_back() -> None:
    normalizer = single()
    said, _ = normalizer.take([readings(NOON - H, Reading("a", 6)), Gap([], NOON, NOON - H + S, "no reply", 7)])
    gap = frames(said)[-1]
    value = {"items": ["x"], "from": NOON, "to": NOON, "reason": "no reply", "lost": 7}
    assert (gap.received, gap.observations) == (NOON - H + S, [Observation("_gap", value)])


def test_a_poll_after_a_restart_is_a_new_sample() -> None:
    normalizer = single()
    normalizer.seed({("press-01", "x"): Observation("x", 5)})
    said, _ = normalizer.take([readings(NOON, Reading("a", 5))])
    assert observations(said) == [Observation("x", 5, 0, None, int(Flag.INITIAL))]
