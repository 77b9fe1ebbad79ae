"""Normalization of any messages in any order: nothing is lost silently, and no value lies."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from assets import status as codes
from assets.definition import Counter
from assets.frame import encode_frame
from assets.plant import Binding
from assets.reading import Gap, Link, Mark, Message, Reading, Readings
from operators.normalize import Normalizer
from tests.operators.noon import (
    KEY,
    NOON,
    H,
    S,
    accounts,
    frames,
    item,
    observations,
)

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 20),
    st.floats(),
    st.sampled_from([1.0, 1.05, 1.5, 65535, "Execute", "x", "\ud800", [1, 2.5], {"a": None}]),
    st.text(max_size=3),
    st.lists(st.floats(), max_size=2),
)
STATUSES = st.sampled_from([codes.GOOD, codes.UNCERTAIN, codes.BAD_SENSOR_FAILURE, codes.BAD, 0xC0])
TIMES = st.one_of(st.none(), st.integers(NOON - 3 * S, NOON + 12 * S))
READINGS = st.builds(
    Reading,
    st.sampled_from(["n", "d", "c", "p", "e", "f", "?"]),
    VALUES,
    STATUSES,
    TIMES,
    st.sampled_from([0, 1, 4, 8, 32, 65, 125]),
)
INSTANTS = st.integers(NOON - S, NOON + 2 * H)
MESSAGES = st.lists(
    st.one_of(
        st.builds(Readings, INSTANTS, st.lists(READINGS, max_size=4), st.one_of(st.none(), INSTANTS)),
        st.builds(Link, INSTANTS, st.booleans()),
        st.builds(Gap, st.lists(st.sampled_from(["n", "e", "?"])), INSTANTS, INSTANTS, st.just("r"), st.integers(0, 3)),
        st.builds(Mark, INSTANTS, st.booleans(), st.just(0), st.integers(0, 9)),
    ),
    max_size=15,
)


def everything() -> Normalizer:
    bindings = {
        "n": [Binding("a-1", "n", item()), Binding("a-2", "n", item(scale=0.1, range=(0, 5), missing=(65535,)))],
        "d": [Binding("a-1", "d", item(deadband=0.1, heartbeat=5 * S))],
        "c": [Binding("a-1", "c", item(counter=Counter(65536), deadband=3.0))],
        "p": [Binding("a-2", "p", item(category="EVENT", states="packml"))],
        "e": [Binding("a-2", "e", item(category="EVENT", enum={"0": "no", "1": "yes"}))],
        "f": [Binding("a-3", "f", item(category="CONDITION"))],
    }
    return Normalizer("forming", bindings, key_frame_us=H)


@settings(max_examples=40, deadline=None)
@given(MESSAGES)
def test_nothing_is_lost_silently_at_any_mark(messages: list[Message]) -> None:
    normalizer, published, dead = everything(), 0, 0
    fan_out = {"n": 2}
    received = 0
    for message in messages:
        said, rejected = normalizer.take([message])
        published += len(observations(said))
        dead += len(rejected)
        if isinstance(message, Readings):
            received += sum(fan_out.get(reading.address, 1) for reading in message.readings)
        for accounted in accounts(said):
            account = accounted.account
            assert (account.received, account.published) == (received, published)
            assert sum(account.rejected.values()) == dead
            assert received == published + sum(account.suppressed.values()) + dead


@settings(max_examples=40, deadline=None)
@given(MESSAGES)
def test_no_published_value_lies(messages: list[Message]) -> None:
    said, _ = everything().take(messages)
    for told in frames(said):
        for o, written in zip(told.observations, json.loads(encode_frame(told))["observations"], strict=True):
            assert not codes.is_bad(o.status) or o.value is None
            assert repr(written) == repr([o.item, o.value, o.status, o.source_time, o.flags])  # no NaN, nothing changed


@settings(max_examples=40, deadline=None)
@given(MESSAGES, st.data())
def test_how_messages_are_cut_into_batches_changes_nothing(messages: list[Message], data: st.DataObject) -> None:
    whole, _ = everything().take(messages)
    cut = data.draw(st.integers(0, len(messages)))
    parted = everything()
    parts = [*parted.take(messages[:cut])[0], *parted.take(messages[cut:])[0]]
    assert repr(parts) == repr(whole)


@settings(max_examples=40, deadline=None)
@given(MESSAGES)
def test_a_key_frame_is_the_fold_of_what_was_published(messages: list[Message]) -> None:
    said, _ = everything().take(messages)
    folded: dict[tuple[str, str], tuple[Any, ...]] = {}
    for told in frames(said):
        for o in told.observations:
            if o.flags & KEY and o.item != "_model":
                assert folded[told.asset, o.item] == (o.value, o.status, o.source_time)
            folded[told.asset, o.item] = (o.value, o.status, o.source_time)
