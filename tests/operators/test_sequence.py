"""The sequence of records: numbers, definitions, ticks; and the ingest flow's two steps inside the engine."""

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.batch import Outgoing, Rejected
from assets.definition import Definition, Item
from assets.frame import Flag, Frame, Observation, SourceAccount, Tick, decode_frame, decode_tick
from assets.plant import Binding
from assets.reading import Link, Mark, Message, Reading, Readings
from assets.stream import partition_of
from operators.normalize import Accounted, Normalizer, Said, normalize
from operators.sequence import Sequencer, sequence

S = 1_000_000
RUN = 1_763_600_000 * S
PARTITIONS = 12
KEY = int(Flag.KEYFRAME)
PRESS = Definition(
    type="press",
    path="acme/hamburg/forming/line-1",
    source="forming",
    items={"temperature": Item(source="forming", address="1", unit="Cel")},
)
PACKER = Definition(type="packer", path="acme/hamburg/packing/line-1", source="packing")
MODELS = {"press-01": PRESS, "packer-01": PACKER}
SOURCES = {"forming": {"press-01"}, "packing": {"packer-01"}, "idle": set[str]()}
HOME = {asset: partition_of(asset, PARTITIONS) for asset in MODELS}


def sequencer() -> Sequencer:
    return Sequencer("gw-1", RUN, PARTITIONS, MODELS, SOURCES)


def said(asset: str, at: int, *told: Observation, source: str = "forming") -> Frame:
    return Frame(1, asset, source, "", 0, 0, RUN + at, "", list(told))


def temperature(value: Any, at: int = 0) -> Frame:
    return said("press-01", at, Observation("temperature", value))


def account(received: int = 0) -> SourceAccount:
    return SourceAccount(RUN, received, received, {}, {}, 0)


def accounted(source: str, at: int, received: int = 0, last: bool = False) -> Accounted:
    return Accounted(source, RUN + at, account(received), last)


def records(sequenced: Iterable[tuple[str, list[Outgoing]]]) -> list[tuple[int, Frame | Tick]]:
    """Partition and content of each record, after checking that key and stream key say the same."""
    found: list[tuple[int, Frame | Tick]] = []
    for key, outgoing in sequenced:
        for record in outgoing:
            assert key == f"{record.partition:04}"
            assert record.value is not None
            if record.key is None:
                found.append((record.partition, decode_tick(record.value)))
            else:
                frame = decode_frame(record.value)
                assert (frame.asset.encode(), partition_of(frame.asset, PARTITIONS)) == (record.key, record.partition)
                found.append((record.partition, frame))
    return found


def frames(sequenced: Iterable[tuple[str, list[Outgoing]]]) -> list[Frame]:
    return [record for _, record in records(sequenced) if isinstance(record, Frame)]


def ticks(sequenced: Iterable[tuple[str, list[Outgoing]]]) -> dict[int, Tick]:
    """The ticks that name sources."""
    return {p: record for p, record in records(sequenced) if isinstance(record, Tick) and record.sources}


def test_the_partitions_of_these_assets_differ() -> None:
    assert len(set(HOME.values())) == 2


def test_the_first_frame_of_an_asset_begins_with_its_definition() -> None:
    things: list[Said] = [temperature(80, 5), temperature(81, 6), said("packer-01", 7, Observation("x", 1))]
    first, second, other = sorted(frames(sequencer().take(things)), key=lambda frame: frame.received)
    assert first == Frame(
        v=1,
        asset="press-01",
        source="forming",
        gateway="gw-1",
        run=RUN,
        seq=1,
        received=RUN + 5,
        model=PRESS.model,
        observations=[Observation("_model", PRESS.value()), Observation("temperature", 80)],
    )
    assert (second.seq, second.observations) == (2, [Observation("temperature", 81)])
    assert (other.seq, other.model, other.observations[0].value) == (1, PACKER.model, PACKER.value())


def test_a_definition_on_the_stream_reads_back_as_the_same_model() -> None:
    (frame,) = frames(sequencer().take([temperature(80)]))
    assert Definition.from_value(frame.observations[0].value) == PRESS
    assert Definition.from_value(frame.observations[0].value).model == frame.model


def test_an_asset_that_is_gone_is_removed_before_anything_else() -> None:
    flow = Sequencer("gw-1", RUN, PARTITIONS, MODELS, SOURCES, {"press-99"})
    first = frames(flow.take([temperature(20)]))
    assert [(f.asset, f.seq, f.run, [o.item for o in f.observations]) for f in first if f.asset == "press-99"] == [
        ("press-99", 1, RUN, ["_removed"])
    ]
    assert [f.asset for f in frames(flow.take([temperature(21)]))] == ["press-01"]


def test_a_key_frame_repeats_the_definition() -> None:
    key = said("press-01", 9, Observation("_model", None, 0, None, KEY), Observation("temperature", 80, 0, None, KEY))
    _, frame = frames(sequencer().take([temperature(80), key]))
    assert frame.observations == [
        Observation("_model", PRESS.value(), 0, None, KEY),
        Observation("temperature", 80, 0, None, KEY),
    ]


def test_a_run_that_begins_with_a_key_frame_defines_the_asset_once() -> None:
    key = said("press-01", 9, Observation("_model", None, 0, None, KEY))
    first, second = frames(sequencer().take([key, temperature(80)]))
    assert first.observations == [Observation("_model", PRESS.value())]
    assert second.observations == [Observation("temperature", 80)]


def test_a_frame_that_is_too_large_becomes_several_in_order() -> None:
    values = [f"{n:04}" + "x" * 9_996 for n in range(100)]
    frame = said("press-01", 0, *(Observation("text", value) for value in values))
    sequenced = sequencer().take([temperature(1), frame, temperature(2)])
    assert max(len(record.value or b"") for _, part in sequenced for record in part) <= 256 * 1024
    found = frames(sequenced)
    assert [frame.seq for frame in found] == list(range(1, len(found) + 1))
    assert len(found) == 6
    assert {frame.received for frame in found} == {RUN}
    assert [o.value for frame in found[1:-1] for o in frame.observations] == values


def test_a_definition_and_a_large_value_are_parted() -> None:
    value = "x" * 261_000
    items = {f"temperature-{n}": PRESS.items["temperature"] for n in range(100)}
    large = Definition(type="press", path=PRESS.path, items=items)
    flow = Sequencer("gw-1", RUN, PARTITIONS, {"press-01": large}, SOURCES)
    model, text = frames(flow.take([said("press-01", 0, Observation("text", value))]))
    assert [o.item for o in model.observations] == ["_model"]
    assert [(o.item, o.value) for o in text.observations] == [("text", value)]


def test_a_tick_goes_where_the_assets_of_a_source_live() -> None:
    found = ticks(sequencer().take([accounted("forming", 0, 7, last=False)]))
    assert found == {
        HOME["press-01"]: Tick(v=1, gateway="gw-1", run=RUN, seq=1, received=RUN, sources={"forming": account(7)})
    }


def test_a_tick_names_the_sources_that_accounted_since_the_last_one() -> None:
    flow = sequencer()
    assert ticks(flow.take([accounted("forming", 0)]))
    assert flow.take([accounted("packing", S // 2), accounted("forming", S - 1, 3)]) == []
    found = ticks(flow.take([accounted("packing", S, 9)]))
    assert {home: (tick.seq, tick.received, tick.sources) for home, tick in found.items()} == {
        HOME["press-01"]: (2, RUN + S, {"forming": account(3)}),
        HOME["packer-01"]: (2, RUN + S, {"packing": account(9)}),
    }
    assert list(ticks(flow.take([accounted("packing", 2 * S, 9)]))) == [HOME["packer-01"]]


def test_a_source_without_assets_is_accounted_in_the_first_partition_of_the_gateway() -> None:
    found = ticks(sequencer().take([accounted("idle", 0, 4)]))
    assert [(home, list(tick.sources)) for home, tick in found.items()] == [(min(HOME.values()), ["idle"])]


def test_what_a_source_received_before_its_mark_stands_before_the_tick() -> None:
    found = records(sequencer().take([temperature(80, 1), accounted("forming", 2), temperature(81, 3)]))
    own = [record for partition, record in found if partition == HOME["press-01"]]
    assert [type(record).__name__ for record in own] == ["Frame", "Tick", "Frame"]


def test_where_the_gateway_has_no_assets_a_tick_moves_time() -> None:
    flow = sequencer()
    for n in (1, 2):
        found = dict(records(flow.take([accounted("forming", n * S, n)])))
        assert sorted(found) == list(range(PARTITIONS))
        there = found[next(p for p in range(PARTITIONS) if p not in HOME.values())]
        assert there == Tick(v=1, gateway="gw-1", run=RUN, seq=n, received=RUN + n * S, sources={})


def test_the_last_account_of_a_source_is_told_at_once() -> None:
    flow = sequencer()
    flow.take([accounted("forming", 0)])
    (tick,) = ticks(flow.take([accounted("forming", S // 3, 8, last=True)])).values()
    assert (tick.seq, tick.sources) == (2, {"forming": account(8)})


def test_a_clock_set_back_does_not_silence_the_gateway() -> None:
    flow = sequencer()
    flow.take([accounted("forming", 0)])
    assert flow.take([accounted("forming", -S // 2)]) == []
    assert ticks(flow.take([accounted("forming", -3600 * S)]))


THINGS = st.lists(
    st.one_of(
        st.builds(temperature, st.integers(), st.integers(0, 9 * S)),
        st.builds(lambda n: said("packer-01", n, Observation("speed", n), source="packing"), st.integers(0, 9)),
        st.builds(accounted, st.sampled_from(list(SOURCES)), st.integers(0, 9 * S), st.integers(0, 9), st.booleans()),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(THINGS, st.integers(0, 30))
def test_numbers_have_no_holes_and_nothing_changes_its_place(things: list[Said], cut: int) -> None:
    flow, seqs, ticked = sequencer(), dict[Any, int](), dict[str, int]()
    seen: list[Any] = []
    for part in (things[:cut], things[cut:]):
        for partition, record in records(flow.take(part)):
            name = record.asset if isinstance(record, Frame) else partition
            assert record.seq == seqs.get(name, 0) + 1
            seqs[name] = record.seq
            if isinstance(record, Tick):
                for source in record.sources:
                    ticked[source] = ticked.get(source, 0) + 1
            else:
                seen += [(record.asset, o.value) for o in record.observations if o.item != "_model"]
    told = [(t.asset, o.value) for t in things if isinstance(t, Frame) for o in t.observations if o.item != "_model"]
    for asset in MODELS:
        assert [v for a, v in seen if a == asset] == [v for a, v in told if a == asset]
    assert set(ticked) <= {thing.source for thing in things if isinstance(thing, Accounted)}


def ingest(batches: list[tuple[str, list[Message]]], out: list[Any], letters: list[Any]) -> Dataflow:
    item = PRESS.items["temperature"]
    makers = {
        "forming": lambda: Normalizer("forming", {"1": [Binding("press-01", "temperature", item)]}, run=RUN),
        "packing": lambda: Normalizer("packing", {"1": [Binding("packer-01", "speed", item)]}, run=RUN),
    }
    flow = Dataflow("ingest")
    messages = op.input("devices", flow, TestingSource(batches))
    normalized = normalize("normalize", messages, makers)
    sequenced = sequence("sequence", normalized.oks, "gw-1", RUN, PARTITIONS, MODELS, SOURCES)
    op.output("stream", sequenced, TestingSink(out))
    op.output("dead-letters", normalized.errs, TestingSink(letters))
    return flow


def one(value: Any, at: int, address: str = "1") -> Readings:
    return Readings(RUN + at, [Reading(address, value)])


def test_devices_become_records_inside_the_engine() -> None:
    batches: list[tuple[str, list[Message]]] = [
        ("forming", [Link(RUN, True), one(80, 1), one(80, 2)]),
        ("packing", [one(3, 3), one(4, 4, "9")]),
        ("packing", [Mark(RUN + 5, True, 2)]),
        ("forming", [one(81, 6), Mark(RUN + S + 5, True, 3)]),
    ]
    out: list[tuple[str, list[Outgoing]]] = []
    letters: list[tuple[str, list[Rejected]]] = []
    run_main(ingest(batches, out, letters))

    press = [frame for frame in frames(out) if frame.asset == "press-01"]
    assert [(frame.seq, [(o.item, o.value) for o in frame.observations if o.item != "_model"]) for frame in press] == [
        (1, [("_availability", "AVAILABLE")]),
        (2, [("temperature", 80)]),
        (3, [("temperature", 81)]),
        (4, [("_availability", "AVAILABLE"), ("temperature", 81)]),
    ]
    assert [frame.seq for frame in frames(out) if frame.asset == "packer-01"] == [1, 2]
    accounts = {name: told for tick in ticks(out).values() for name, told in tick.sources.items()}
    assert accounts["forming"] == SourceAccount(RUN + S + 5, 3, 2, {"unchanged": 1}, {}, 0)
    assert accounts["packing"] == SourceAccount(RUN + 5, 2, 1, {}, {"unknown_item": 1}, 0)
    ((key, (letter,)),) = letters
    assert (key, letter.reason, letter.origin) == ("0000", "unknown_item", f"packing/9/{RUN}/1")
    assert json.loads(letter.raw or b"")["readings"] == [["9", 4, 0, None, 0]]


@pytest.mark.parametrize("interval", [0, 10])
def test_a_restart_is_a_new_run_that_keeps_nothing(interval: int, tmp_path: Any) -> None:
    init_db_dir(tmp_path, 1)
    batches: list[Any] = [("forming", [one(80, 1)]), TestingSource.EOF(), ("forming", [one(80, 2)])]
    out: list[tuple[str, list[Outgoing]]] = []
    for _ in range(2):
        flow = ingest(batches, out, [])
        store = RecoveryConfig(str(tmp_path))
        run_main(flow, epoch_interval=timedelta(seconds=interval), recovery_config=store)
    assert [(frame.seq, frame.received - RUN, len(frame.observations)) for frame in frames(out)] == [
        (1, 1, 2),
        (1, 2, 2),
    ]


def test_two_workers_write_the_same_records_only_slower() -> None:
    batches: list[Any] = [
        batch
        for n in range(20)
        for batch in (("forming", [one(n, n), Mark(RUN + n, True, n)]), ("packing", [one(-n, n)]))
    ]
    out: list[tuple[str, list[Outgoing]]] = []
    cluster_main(ingest(batches, out, []), [], 0, worker_count_per_proc=2)
    for asset, sign in (("press-01", 1), ("packer-01", -1)):
        mine = [frame for frame in frames(out) if frame.asset == asset]
        assert [frame.seq for frame in mine] == list(range(1, len(mine) + 1))
        told = [o.value for frame in mine for o in frame.observations if o.item in {"temperature", "speed"}]
        assert list(dict.fromkeys(told)) == [sign * n for n in range(20)]
