"""The wire contract: golden records decode for ever, and what is written is what is read."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.fields import LEVELS
from assets.frame import (
    CLOCK_SKEW,
    MOST_OBSERVATIONS,
    NO_SAMPLE,
    ContractError,
    DerivedEvent,
    Flag,
    Frame,
    Observation,
    SourceAccount,
    Tick,
    decode_event,
    decode_frame,
    decode_tick,
    encode_event,
    encode_frame,
    encode_tick,
    event_time,
)
from assets.status import BAD_SENSOR_FAILURE, UNCERTAIN_INITIAL_VALUE

GOLDEN = Path(__file__).parent / "golden"
RUN = 1763600000000000
SAMPLED = 1763600000213900

FRAME_V1 = Frame(
    v=1,
    asset="press-01",
    source="forming",
    gateway="gw-1",
    run=RUN,
    seq=123,
    received=1763600000214337,
    model="9f2c41d07a3e",
    observations=[
        Observation("temperature", 81.25, 0, SAMPLED, 0),
        Observation("state", "Execute", 0, SAMPLED, 0),
        Observation("parts", 2**64, UNCERTAIN_INITIAL_VALUE, None, CLOCK_SKEW),
        Observation("force", None, BAD_SENSOR_FAILURE, SAMPLED, NO_SAMPLE),
        Observation("door_open", True),
        Observation("_gap", {"items": ["force"], "from": RUN, "to": RUN + 100_000, "reason": "timeout", "lost": None}),
        Observation("axes", [1, -2.5, "µm"], 0, None, int(Flag.REDELIVERED)),
    ],
)
TICK_V1 = Tick(
    v=1,
    gateway="gw-1",
    run=RUN,
    seq=7,
    received=RUN + 1_000_000,
    sources={
        "forming": SourceAccount(
            RUN + 990_000, 1200, 1000, {"deadband": 150, "redelivered": 20}, {"unknown_item": 25}, 3
        ),
        "meter-01": SourceAccount(None, 0, 0, {}, {}, 0),
    },
)
LOSING_TICK_V1 = Tick(
    v=1,
    gateway="gw-1",
    run=RUN,
    seq=8,
    received=RUN + 2_000_000,
    sources={"meter-01": SourceAccount(RUN + 1_990_000, 20, 20, {}, {}, 7, RUN + 400_000)},
)
EVENT_V1 = DerivedEvent(
    v=1,
    asset="press-01",
    metric="running",
    time=RUN + 60_000_000,
    value="Held",
    previous="Execute",
    since=RUN,
    until=RUN + 60_000_000,
    duration=60_000_000,
    status=0,
    id="3:4711:1:running:0",
    basis=(3, 4711, 1),
    operator="durations",
    operator_version=1,
)

RECORDS: dict[str, tuple[Any, Any, Any]] = {
    "frame-v1": (FRAME_V1, encode_frame, decode_frame),
    "tick-v1": (TICK_V1, encode_tick, decode_tick),
    "tick-v1-losing": (LOSING_TICK_V1, encode_tick, decode_tick),
    "derived-event-v1": (EVENT_V1, encode_event, decode_event),
}


def test_every_golden_record_is_tested() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(RECORDS)


@pytest.mark.parametrize("name", RECORDS)
def test_a_golden_record_decodes_to_its_values(name: str) -> None:
    value, _, decode = RECORDS[name]
    assert decode((GOLDEN / f"{name}.json").read_bytes()) == value


@pytest.mark.parametrize("name", RECORDS)
def test_its_values_encode_to_the_golden_record(name: str) -> None:
    value, encode, _ = RECORDS[name]
    assert encode(value) == (GOLDEN / f"{name}.json").read_bytes()


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**100), 2**100) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUES: st.SearchStrategy[Any] = SCALARS
for _ in range(3):
    VALUES = SCALARS | st.lists(VALUES, max_size=4) | st.dictionaries(TEXT, VALUES, max_size=4)
INSTANTS = st.integers(0, 253_402_300_799_999_999)
PARTS = st.integers(0, 2**15 - 1)
VERSIONS = st.integers(0, 2**31 - 1)
EVENTS = st.builds(
    DerivedEvent,
    v=st.just(1),
    time=INSTANTS,
    value=VALUES,
    previous=VALUES,
    since=st.none() | INSTANTS,
    until=st.none() | INSTANTS,
    duration=st.none() | INSTANTS,
    status=st.integers(0, 2**32 - 1),
    basis=st.tuples(PARTS, INSTANTS, PARTS),
    operator_version=VERSIONS,
    revision=VERSIONS,
)
OBSERVATIONS = st.builds(
    Observation,
    item=TEXT,
    value=VALUES,
    status=st.integers(0, 2**32 - 1),
    source_time=st.none() | INSTANTS,
    flags=st.integers(0, 127),
)
FRAMES = st.builds(
    Frame,
    v=st.just(1),
    asset=TEXT,
    source=TEXT,
    gateway=TEXT,
    run=INSTANTS,
    seq=st.integers(1, 2**62),
    received=INSTANTS,
    model=TEXT,
    observations=st.lists(OBSERVATIONS, max_size=5),
)


def exact(value: Any) -> Any:
    """Values with their types: 1, 1.0 and True are not the same."""
    if isinstance(value, list):
        return [exact(v) for v in value]
    if isinstance(value, dict):
        return {k: exact(v) for k, v in value.items()}
    return type(value), value


@given(FRAMES)
def test_a_frame_survives_the_stream_exactly(frame: Frame) -> None:
    again = decode_frame(encode_frame(frame))
    assert again == frame
    assert [exact(o.value) for o in again.observations] == [exact(o.value) for o in frame.observations]


@given(FRAMES)
def test_a_frame_has_one_form(frame: Frame) -> None:
    record = encode_frame(frame)
    assert encode_frame(decode_frame(record)) == record


@given(EVENTS)
def test_a_derived_event_survives_the_stream(event: DerivedEvent) -> None:
    assert decode_event(encode_event(event)) == event


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_record_or_a_contract_error(record: bytes) -> None:
    for decode in (decode_frame, decode_tick, decode_event):
        with pytest.raises(ContractError):
            decode(record)


@given(FRAMES, st.data())
def test_a_torn_frame_is_a_contract_error(frame: Frame, data: st.DataObject) -> None:
    record = encode_frame(frame)
    with pytest.raises(ContractError, match=r"^not a frame: "):
        decode_frame(record[: data.draw(st.integers(0, len(record) - 1))])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_number_for_becomes_null(value: float) -> None:
    frame = Frame(1, "a", "s", "g", 1, 1, 1, "m", [Observation("x", value)])
    assert decode_frame(encode_frame(frame)).observations[0].value is None


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
def test_json_that_is_none_is_refused(word: bytes) -> None:
    record = (GOLDEN / "frame-v1.json").read_bytes().replace(b"81.25", word)
    with pytest.raises(ContractError):
        decode_frame(record)


def test_event_time_is_not_on_the_wire() -> None:
    frame = Frame(1, "a", "s", "g", 1, 1, 1, "m", [Observation("x", 1, time=99)])
    assert b"99" not in encode_frame(frame)
    assert decode_frame(encode_frame(frame)).observations[0].time == 0


@pytest.mark.parametrize("name", RECORDS)
def test_a_version_of_the_future_is_refused_by_number(name: str) -> None:
    record = (GOLDEN / f"{name}.json").read_bytes().replace(b'"v":1', b'"v":2')
    what = name.partition("-v")[0].replace("-", " ")
    with pytest.raises(ContractError, match=f"^version 2 of a {what} is unknown; known is 1$"):
        RECORDS[name][2](record)


@pytest.mark.parametrize("name", RECORDS)
def test_a_missing_field_is_named(name: str) -> None:
    field = b"basis" if name.startswith("derived-event") else b"seq"
    record = (GOLDEN / f"{name}.json").read_bytes().replace(b'"%s"' % field, b'"other"', 1)
    with pytest.raises(ContractError, match=f"missing required field `{field.decode()}`"):
        RECORDS[name][2](record)


@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_values_nest_ten_levels_deep(begin: bytes, end: bytes) -> None:
    frame = Frame(1, "a", "s", "g", 1, 1, 1, "m", [Observation("x", "here")])

    def nested(levels: int) -> bytes:
        return encode_frame(frame).replace(b'"here"', begin * levels + b"1" + end * levels)

    assert encode_frame(decode_frame(nested(LEVELS))) == nested(LEVELS)
    for levels in (LEVELS + 1, 989, 100_000):
        with pytest.raises(ContractError):
            decode_frame(nested(levels))


def test_a_frame_has_no_more_observations_than_readers_can_number() -> None:
    frame = Frame(1, "a", "s", "g", 1, 1, 1, "m", [Observation("x", 1)] * MOST_OBSERVATIONS)
    assert len(decode_frame(encode_frame(frame)).observations) == MOST_OBSERVATIONS
    frame.observations.append(Observation("x", 1))
    with pytest.raises(ContractError, match="length <= 32767"):
        decode_frame(encode_frame(frame))


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("time", 1 << 70),
        ("since", -1),
        ("until", 1 << 62),
        ("duration", 1 << 63),
        ("status", 1 << 32),
        ("basis", [1 << 15, 0, 0]),
        ("basis", [0, 1 << 63, 0]),
        ("basis", [0, 0, -1]),
        ("operator_version", 1 << 31),
        ("revision", 1 << 31),
    ],
)
def test_a_derived_event_has_no_number_that_views_have_no_room_for(field: str, number: object) -> None:
    event = msgspec.json.decode((GOLDEN / "derived-event-v1.json").read_bytes())
    with pytest.raises(ContractError, match=rf"\.{field}"):
        decode_event(msgspec.json.encode({**event, field: number}))


def test_a_field_of_the_future_is_skipped() -> None:
    record = (GOLDEN / "frame-v1.json").read_bytes().replace(b'{"v":1', b'{"later":[1],"v":1', 1)
    assert decode_frame(record) == FRAME_V1


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        (Observation("x", 1, 0, 40), 40),
        (Observation("x", 1, 0, None), 50),
        (Observation("x", 1, 0, 40, CLOCK_SKEW), 50),
        (Observation("x", 1, 0, 40, Flag.REPLAYED), 40),
        (Observation("x", 1, 0, 0), 0),
    ],
)
def test_event_time_is_the_devices_unless_its_clock_is_not_believed(observation: Observation, expected: int) -> None:
    assert event_time(observation, received=50) == expected


@pytest.mark.parametrize("name", RECORDS)
@given(st.data())
def test_a_damaged_record_is_a_contract_error_and_nothing_else(name: str, data: st.DataObject) -> None:
    golden, decode = (GOLDEN / f"{name}.json").read_bytes(), RECORDS[name][2]
    begin = data.draw(st.integers(0, len(golden)))
    end = data.draw(st.integers(begin, begin + 4))
    damage = data.draw(st.sampled_from([b"", b'"', b'""', b"{", b"9" * 30, b"null", b'"1"', b"\xff", b"[" * 2_000]))
    with suppress(ContractError):
        decode(golden[:begin] + damage + golden[end:])
