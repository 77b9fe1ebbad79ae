"""Live values: subjects and payloads, derived events that wait, and that a stop anywhere changes nothing."""

import json
from collections.abc import Sequence
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from assets.batch import Batch, DerivedBatch, LiveValue
from assets.definition import Definition, Item, SourceModel
from assets.fields import Value
from assets.frame import DerivedEvent, Frame, Observation, Tick
from assets.newest import Newest
from operators import live_values as module
from operators._snapshot import SnapshotError
from operators._waiting import newest_of
from operators.live_values import LiveValues, live_values

S = 1_000_000


def definition(path: str = "acme/hamburg/forming/line-1", unit: str = "Cel") -> Definition:
    items = {"temperature": Item(source="s", address="t", unit=unit), "state": Item(source="s", address="state")}
    return Definition(type="press", path=path, source="s", items=items, sources={"s": SourceModel(10 * S)})


LINE_1 = definition()


def frame(*observations: Observation, asset: str = "press-01", model: Definition = LINE_1, at: int = S) -> Frame:
    return Frame(1, asset, "s", "gw-1", 1, 1, at, model.model, list(observations))


def introduce(asset: str = "press-01", model: Definition = LINE_1) -> Frame:
    return frame(Observation("_model", model.value()), asset=asset, model=model)


def temperature(value: Value, flags: int = 0) -> Frame:
    return frame(Observation("temperature", value, 0, S - 7, flags))


def batch(first: int, *records: Frame | Tick) -> Batch:
    return Batch(3, first, first + len(records), list(range(first, first + len(records))), list(records))


def event(basis: int, value: Value, index: int = 0, n: int = 0, asset: str = "press-01") -> DerivedEvent:
    name = f"3:{basis}:{index}:running:{n}"
    return DerivedEvent(
        1, asset, "running", basis * S, value, None, None, None, None, 0, name, (3, basis, index), "rules", 1
    )


def events(first: int, *made: DerivedEvent) -> DerivedBatch:
    return DerivedBatch(3, first, first + len(made), list(range(first, first + len(made))), list(made))


def feed(logic: LiveValues, item: Batch | DerivedBatch) -> list[LiveValue]:
    return logic.batch(item) if isinstance(item, Batch) else logic.derived(item)


def newest(values: Sequence[LiveValue]) -> dict[str, Any]:
    """What a store of newest values holds after these messages."""
    fold = Newest()
    fold.take(values)
    return {subject: json.loads(value.payload)["value"] for subject, value in fold.values.items()}


def test_an_observation_goes_live_with_unit_times_and_origin() -> None:
    logic = LiveValues()
    logic.batch(batch(0, introduce()))
    (value,) = logic.batch(batch(1, temperature(81.25, 4)))
    assert value.subject == "assets.acme.hamburg.forming.line-1.press-01.temperature"
    assert (value.partition, value.offset, value.index) == (3, 1, 0)
    assert json.loads(value.payload) == {
        "asset": "press-01",
        "item": "temperature",
        "value": 81.25,
        "unit": "Cel",
        "status": 0,
        "time": S - 7,
        "received": S,
        "origin": [3, 1, 0],
        "source": "s",
        "flags": 4,
    }


def test_the_definition_itself_and_availability_go_live() -> None:
    logic = LiveValues()
    made = logic.batch(batch(0, introduce(), frame(Observation("_availability", "AVAILABLE"))))
    assert newest(made) == {
        "assets.acme.hamburg.forming.line-1.press-01._model": LINE_1.value(),
        "assets.acme.hamburg.forming.line-1.press-01._availability": "AVAILABLE",
    }
    assert json.loads(made[1].payload)["source"] == "s"


def test_a_derived_event_waits_for_its_basis() -> None:
    logic = LiveValues()
    logic.batch(batch(0, introduce()))
    assert logic.derived(events(0, event(2, True))) == []
    assert len(logic.batch(batch(1, temperature(1.0)))) == 1
    observation, derived = logic.batch(batch(2, temperature(2.0)))
    assert observation.offset == 2
    assert derived.subject == "state.acme.hamburg.forming.line-1.press-01.running"
    payload = json.loads(derived.payload)
    assert (payload["value"], payload["id"], payload["basis"]) == (True, "3:2:0:running:0", [3, 2, 0])
    assert payload["origin"] == [derived.partition, derived.offset, derived.index]


def test_events_of_one_record_are_ordered_by_observation_and_number() -> None:
    logic = LiveValues()
    logic.batch(batch(0, introduce(), temperature(1.0)))
    made = logic.derived(events(0, event(1, "a"), event(1, "b", n=1), event(1, "c", index=1), event(1, "d", 1, 12)))
    keys = [(value.offset, value.index) for value in made]
    assert keys == sorted(set(keys))


THERE = definition("acme/hamburg/forming/line-2")
HOME, AWAY = "acme.hamburg.forming.line-1.press-01", "acme.hamburg.forming.line-2.press-01"


@pytest.mark.parametrize("derived_first", [True, False])
def test_the_values_of_a_moved_asset_go_on_at_its_new_path_whichever_stream_is_ahead(derived_first: bool) -> None:
    records = batch(0, introduce(), temperature(1.0), introduce(model=THERE), frame(model=THERE))
    derived = events(0, event(1, "before"))
    logic = LiveValues()
    made = [
        value for item in ((derived, records) if derived_first else (records, derived)) for value in feed(logic, item)
    ]
    assert newest(made) == {
        f"assets.{AWAY}._model": THERE.value(),
        f"assets.{AWAY}.temperature": 1.0,
        f"state.{AWAY}.running": "before",
    }
    made += logic.derived(events(1, event(3, "after")))
    assert newest(made)[f"state.{AWAY}.running"] == "after"


def removal() -> Frame:
    return frame(Observation("_removed", value=True), Observation("temperature", 5.0))


@pytest.mark.parametrize("derived_first", [True, False])
def test_of_a_removed_asset_only_the_word_removed_stays(derived_first: bool) -> None:
    records = batch(0, introduce(), temperature(1.0), removal())
    derived = events(0, event(1, "Execute"), event(2, None), event(2, "REMOVED", n=1))
    logic = LiveValues()
    made = [
        value for item in ((derived, records) if derived_first else (records, derived)) for value in feed(logic, item)
    ]
    assert newest(made) == {f"state.{HOME}.running": "REMOVED"}


@pytest.mark.parametrize("model", [LINE_1, THERE])
def test_an_asset_that_was_removed_begins_afresh(model: Definition) -> None:
    logic = LiveValues()
    made = logic.batch(batch(0, introduce(), temperature(1.0), removal()))
    made += logic.derived(events(0, event(1, "Execute"), event(2, "REMOVED")))
    made += logic.batch(batch(3, removal(), introduce(model=model)))
    where = HOME if model is LINE_1 else AWAY
    assert newest(made) == {f"assets.{where}._model": model.value()}
    made += logic.derived(events(2, event(4, "AVAILABLE")))
    assert newest(made) == {f"assets.{where}._model": model.value(), f"state.{where}.running": "AVAILABLE"}


def test_the_same_messages_again_change_nothing_and_a_value_from_the_future_comes_again() -> None:
    there_and_back = [introduce(), temperature(1.0), introduce(model=THERE), introduce(), temperature(2.0)]
    made = LiveValues().batch(batch(0, *there_and_back))
    fold = Newest()
    told = fold.take(made)
    expected = dict(fold.values)
    store = {value.subject: value for value in told if value.payload and value.subject in expected}
    for value in fold.take(made):
        if value.payload:
            store[value.subject] = value
        else:
            store.pop(value.subject, None)
    assert fold.values == store == expected


def test_from_the_middle_a_derived_event_waits_for_the_definition_of_its_asset() -> None:
    logic = LiveValues()
    made = logic.derived(events(0, event(3, "old"), event(5, "new")))
    made += logic.batch(batch(10, temperature(1.0)))
    assert (made, logic.unplaced) == ([], 1)
    after = LiveValues()
    after.load(logic.save())
    made = after.batch(batch(11, introduce()))
    assert newest(made)[f"state.{HOME}.running"] == "new"


@pytest.mark.parametrize("derived_first", [True, False])
def test_from_the_middle_what_has_ended_before_is_not_taken_for_now(derived_first: bool) -> None:
    """The removal at offset 5 is not read, only what derive made of it."""
    removed = event(5, "REMOVED")
    removed.operator, removed.metric = "availability", "availability"
    derived = events(0, event(3, "old"), removed, event(5, None, n=1))
    records = batch(10, introduce(), temperature(1.0))
    logic = LiveValues()
    made = [
        value for item in ((derived, records) if derived_first else (records, derived)) for value in feed(logic, item)
    ]
    assert [subject for subject in newest(made) if subject.startswith("state.")] == []


@pytest.mark.parametrize("derived_first", [True, False])
def test_a_stream_that_is_read_again_is_read_afresh(derived_first: bool) -> None:
    records, derived = batch(0, introduce(), temperature(1.0), temperature(2.0)), events(0, event(1, "x"))
    items = (derived, records) if derived_first else (records, derived)
    logic = LiveValues()
    once = [value for item in items for value in feed(logic, item)]
    assert [value for item in items for value in feed(logic, item)] == once
    assert len(once) == 4


def test_each_frame_has_the_units_of_the_definition_it_names() -> None:
    kelvin = definition(unit="K")
    logic = LiveValues()
    logic.batch(batch(0, introduce(), introduce("press-02", kelvin)))
    made = logic.batch(
        batch(2, temperature(1.0), frame(Observation("temperature", 300.0), asset="press-02", model=kelvin))
    )
    assert [json.loads(value.payload)["unit"] for value in made] == ["Cel", "K"]


def test_without_a_definition_there_is_no_subject_and_it_is_counted() -> None:
    logic = LiveValues()
    assert logic.batch(batch(5, temperature(1.0), frame(Observation("_model", {"type": 1})))) == []
    assert logic.derived(events(0, event(5, True))) == []
    assert logic.unplaced == 2
    assert len(logic.batch(batch(7, introduce(), temperature(2.0)))) == 3


def test_a_flood_of_waiting_events_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HELD", 10)
    logic = LiveValues()
    for i in range(30):
        assert logic.derived(events(i, event(i, i), event(i, -i, asset="press-02"))) == []
    made = logic.batch(batch(0, introduce(), introduce("press-02"), *(temperature(1.0) for _ in range(30))))
    assert {s[-16:]: v for s, v in newest(made).items() if s.startswith("state")} == {
        "press-01.running": 29,
        "press-02.running": -29,
    }
    assert len(made) < 32 + 22


def test_what_waits_is_bounded_by_the_metrics_and_seldom_sorted_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HELD", 10)
    sorted_out: list[int] = []

    def counted(held: Sequence[DerivedEvent]) -> list[DerivedEvent]:
        sorted_out.append(len(held))
        return newest_of(held)

    monkeypatch.setattr(module, "newest_of", counted)
    logic, assets = LiveValues(), [f"press-{n:02}" for n in range(40)]
    for i in range(600):
        logic.derived(events(i, event(i, i, asset=assets[i % 40])))
        assert len(logic._held) <= 2 * len(assets)
    assert len(sorted_out) < 600 / 10


def test_a_stop_anywhere_changes_nothing() -> None:
    there = definition("acme/hamburg/forming/line-2", "K")
    stream: list[Batch | DerivedBatch] = [
        batch(0, introduce(), temperature(1.0)),
        events(0, event(1, "a"), event(3, "b")),
        batch(2, temperature(2.0)),
        batch(3, Tick(1, "gw-1", 1, 1, S, {}), introduce(model=there)),
        events(2, event(4, "c"), event(5, "d")),
        batch(5, frame(Observation("temperature", 300.0), model=there)),
    ]
    whole = LiveValues()
    expected = [value for item in stream for value in feed(whole, item)]
    for cut in range(len(stream) + 1):
        before, after = LiveValues(), LiveValues()
        made = [value for item in stream[:cut] for value in feed(before, item)]
        after.load(before.save())
        made += [value for item in stream[cut:] for value in feed(after, item)]
        assert made == expected
        assert after.save() == whole.save()


def test_a_snapshot_of_another_version_is_refused() -> None:
    saved = LiveValues().save().replace(b"\xa7version\x05", b"\xa7version\x63")
    with pytest.raises(SnapshotError) as error:
        LiveValues().load(saved)
    assert str(error.value) == (
        'snapshot of step "live_values" has version 99, this program reads 5; go on with the newer program, '
        "or delete the recovery store of this flow"
    )


def test_the_step_merges_both_streams_by_partition() -> None:
    flow = Dataflow("serve")
    records = op.input("records", flow, TestingSource([("0003", batch(0, introduce(), temperature(1.0)))]))
    derived = op.input("derived", flow, TestingSource([("0003", events(0, event(1, True)))]))
    out: list[tuple[str, list[LiveValue]]] = []
    op.output("out", live_values("live", records, derived), TestingSink(out))
    run_main(flow)
    assert {key for key, _ in out} == {"0003"}
    assert len(newest([value for _, values in out for value in values])) == 3
