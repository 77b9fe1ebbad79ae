"""Definitions that change in the middle of the stream act from their offset on, live, resumed and rebuilt alike."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.batch import DerivedBatch
from assets.definition import Definition, Item, SourceModel
from assets.fields import Value
from assets.frame import Frame, Observation, Tick
from assets.newest import Newest
from operators._assets import Assets
from operators.live_values import LiveValues
from operators.rules import Rules
from tests.changes import BASE, PATH, Records, Views, Writer, changed, cut, item, subject, whole
from tests.streams import S, batch, tick

AWAY = "acme/hamburg/forming/line-2"
ALARM = BASE.derive["overheat"]


def begin() -> tuple[Writer, Records]:
    """An alarm is active, a machine runs; the gateway that tells so ends, and another run of it begins."""
    first = Writer()
    records: Records = [first.define(0), first.tell(1, state="Execute", temperature=95.0, power=4.0)]
    return Writer(run=2), records


def after(model: Definition, *values: tuple[float, dict[str, Value]]) -> Views:
    """The views of a stream in which a definition changes at second 10."""
    writer, records = begin()
    records.append(writer.define(10, model))
    records += [writer.tell(at, **told) for at, told in values]
    return whole(records)


def state(metric: str, path: str = PATH, asset: str = "press-01") -> str:
    return subject(metric, asset, path, "state")


def test_a_rule_with_other_limits_ends_and_judges_the_next_value() -> None:
    stricter = changed(derive={"overheat": {**ALARM, "above": 96.0}})
    assert after(stricter).said("overheat") == [("ACTIVE", 1), (None, 10)]
    assert after(stricter).values()[state("overheat")] is None
    views = after(stricter, (11, {"temperature": 95.0}), (12, {"temperature": 97.0}))
    assert views.said("overheat") == [("ACTIVE", 1), (None, 10), ("CLEAR", 11), ("ACTIVE", 12)]
    assert views.said("running") == [("Execute", 1)]


def test_a_rule_that_was_added_begins_with_the_next_value() -> None:
    more = changed(derive={"hot": {**ALARM, "above": 50.0, "clear_below": 40.0}})
    views = after(more, (11, {"temperature": 95.0}))
    assert views.said("hot") == [("ACTIVE", 11)]
    assert views.said("overheat") == [("ACTIVE", 1)]
    assert views.values()[state("hot")] == "ACTIVE"


def test_a_rule_that_was_removed_ends_with_a_last_event_and_without_a_live_value() -> None:
    views = after(changed(derive={"overheat": None}), (11, {"temperature": 99.0}))
    assert views.said("overheat") == [("ACTIVE", 1), (None, 10)]
    assert state("overheat") not in views.live
    assert views.values()[state("running")] == "Execute"


def test_a_rule_that_comes_back_begins_anew() -> None:
    writer, records = begin()
    records += [writer.define(10, changed(derive={"overheat": None})), writer.define(20)]
    assert state("overheat") not in whole(records).live
    records.append(writer.tell(21, temperature=95.0))
    views = whole(records)
    assert views.said("overheat") == [("ACTIVE", 1), (None, 10), ("ACTIVE", 21)]
    assert views.values()[state("overheat")] == "ACTIVE"


def test_limits_refer_to_the_new_unit_and_old_values_keep_theirs() -> None:
    kelvin = changed(items={"temperature": item("temperature", unit="K")})
    views = after(kelvin)
    assert views.said("overheat") == [("ACTIVE", 1), (None, 10)]
    assert (views.values()[subject("temperature")], views.units()[subject("temperature")]) == (95.0, "Cel")
    views = after(kelvin, (11, {"temperature": 70.0}))
    assert views.said("overheat") == [("ACTIVE", 1), (None, 10), ("CLEAR", 11)]
    assert views.units()[subject("temperature")] == "K"


def test_a_change_that_waits_for_its_delay_is_dropped_with_the_unit() -> None:
    slow = changed(derive={"overheat": {**ALARM, "on_delay": 20 * S}})
    writer = Writer()
    records: Records = [writer.define(0, slow), writer.tell(1, temperature=95.0)]
    kelvin = changed(slow, items={"temperature": item("temperature", unit="K")})
    records += [writer.define(10, kelvin), tick(60, "s")]
    assert whole(records).said("overheat") == []


def test_an_item_of_another_category_is_another_item_to_its_rules() -> None:
    condition = changed(items={"state": item("state", category="CONDITION")})
    views = after(condition, (11, {"state": "Execute"}))
    assert views.said("running") == [("Execute", 1), (None, 10), ("Execute", 11)]


def test_range_deadband_and_scale_change_no_state() -> None:
    finer = changed(items={"temperature": item("temperature", scale=0.1, deadband=0.5, range=(0.0, 99.0))})
    assert after(finer, (11, {"temperature": 85.0})).said("overheat") == [("ACTIVE", 1)]


def test_an_item_that_was_added_is_live_and_one_that_was_removed_is_not() -> None:
    other = changed(items={"power": None, "force": Item(source="s", address="f", unit="kN")})
    views = after(other, (11, {"force": 7.0}))
    assert views.values()[subject("force")] == 7.0
    assert subject("power") not in views.live
    assert views.said("overheat") == [("ACTIVE", 1)]


def test_an_asset_that_moved_keeps_its_state_and_goes_on_at_its_new_path() -> None:
    views = after(changed(path=AWAY))
    assert [views.said(metric) for metric in ("overheat", "running")] == [[("ACTIVE", 1)], [("Execute", 1)]]
    assert views.values()[subject("temperature", path=AWAY)] == 95.0
    assert views.values()[state("overheat", AWAY)] == "ACTIVE"
    assert not [name for name in views.live if PATH.replace("/", ".") in name]


def test_of_a_removed_asset_nothing_is_left_and_it_comes_back_afresh() -> None:
    writer, records = begin()
    records.append(writer.remove(10))
    views = whole(records)
    assert views.said("overheat") == [("ACTIVE", 1), (None, 10)]
    assert views.values() == {state("availability"): "REMOVED"}
    records += [writer.define(20), writer.tell(21, temperature=50.0)]
    views = whole(records)
    assert views.said("overheat") == [("ACTIVE", 1), (None, 10), ("CLEAR", 21)]
    assert set(views.values()) == {
        *(subject(name) for name in ("temperature", "_availability")),
        *(state(metric) for metric in ("overheat", "availability")),
    }


def test_a_renamed_asset_is_one_that_was_removed_and_another_that_is_new() -> None:
    writer, records = begin()
    records += [writer.remove(10), writer.define(10, BASE, "press-09"), writer.tell(11, "press-09", temperature=95.0)]
    views = whole(records)
    assert views.said("overheat") == [("ACTIVE", 1), (None, 10)]
    assert views.said("overheat", "press-09") == [("ACTIVE", 11)]
    assert [name for name in views.values() if ".press-01." in name] == [state("availability")]


RENAMED = changed(
    items={"temperature": None, "core": item("temperature", was="temperature")},
    derive={"overheat": {**ALARM, "item": "core"}},
)


def test_a_renamed_item_keeps_its_value_and_the_state_of_its_rules() -> None:
    views = after(RENAMED)
    assert views.said("overheat") == [("ACTIVE", 1)]
    assert subject("temperature") not in views.live
    assert views.values()[subject("core")] == 95.0
    assert b'"item":"core"' in views.live[subject("core")]
    views = after(RENAMED, (11, {"core": 70.0}))
    assert views.said("overheat") == [("ACTIVE", 1), ("CLEAR", 11)]
    assert b'"previous":"ACTIVE"' in views.events[-1]
    assert b'"since":1000000' in views.events[-1]


def test_an_item_is_renamed_once_and_again_and_back() -> None:
    writer, records = begin()
    back = changed(items={"temperature": item("temperature", was="core")})
    for at, model in ((10, RENAMED), (20, back), (30, RENAMED)):
        records.append(writer.define(at, model))
    records.append(writer.tell(31, core=70.0))
    assert whole(records).said("overheat") == [("ACTIVE", 1), ("CLEAR", 31)]
    assert subject("temperature") not in whole(records).live


def test_a_renamed_item_of_a_moved_asset_goes_on_at_both() -> None:
    assert after(changed(RENAMED, path=AWAY)).values()[subject("core", path=AWAY)] == 95.0


def test_a_renamed_item_with_another_unit_is_another_item_to_its_rules() -> None:
    kelvin = changed(RENAMED, items={"core": item("core", RENAMED, unit="K")})
    assert after(kelvin).said("overheat") == [("ACTIVE", 1), (None, 10)]


def test_a_name_that_begins_like_another_ends_alone() -> None:
    more = changed(items={"power-total": item("power")})
    writer = Writer()
    records: Records = [writer.define(0, more), writer.tell(1, power=1.0, **{"power-total": 2.0})]
    records.append(writer.define(10, changed(more, items={"power": None})))
    views = whole(records)
    assert views.values()[subject("power-total")] == 2.0
    assert subject("power") not in views.live


def test_an_asset_with_another_source_is_unavailable_until_that_speaks() -> None:
    other = changed(
        source="t", items={name: item(name, source="t") for name in BASE.items}, sources={"t": SourceModel(10 * S)}
    )
    writer, records = begin()
    records.append(writer.define(10, other, link=False))
    views = whole(records)
    assert views.said("availability") == [("AVAILABLE", 0), ("UNAVAILABLE", 10)]
    assert views.said("running") == [("Execute", 1), (None, 10)]
    records.append(writer.frame(11, "press-01", Observation("_availability", "AVAILABLE"), source="t"))
    records += [tick(12 + n, "t", run=2) for n in range(30)]
    assert whole(records).said("availability") == [("AVAILABLE", 0), ("UNAVAILABLE", 10), ("AVAILABLE", 11)]


def test_a_source_that_an_asset_has_left_can_no_longer_make_it_unavailable() -> None:
    both = changed(source=None)
    alone = changed(both, items={"power": None})
    writer = Writer()
    lost = writer.frame(1, "press-01", Observation("_availability", "UNAVAILABLE"), source="m")
    records: Records = [writer.define(0, both), lost, writer.define(10, alone, link=False)]
    assert whole(records).said("availability") == [("AVAILABLE", 0), ("UNAVAILABLE", 1), ("AVAILABLE", 10)]


def test_a_definition_that_cannot_be_read_becomes_one_dead_letter_and_the_last_stays() -> None:
    writer, records = begin()
    for broken in ({"type": 1}, {**BASE.value(), "path": "nowhere"}, "a press", None):
        told = writer.define(10)
        told.model, told.observations[0].value = f"broken-{broken}"[:20], broken
        records += [told, told]
    records.append(writer.tell(11, temperature=70.0))
    views = whole(records)
    assert [(each.reason, each.origin) for each in views.letters] == [
        ("definition", f"asset-stream/0/{offset}") for offset in (2, 4, 6, 8)
    ]
    assert views.letters[1].detail.startswith("not a definition: expected enterprise/site/area/work_center")
    assert views.said("overheat") == [("ACTIVE", 1), ("CLEAR", 11)]
    assert b'"path":"acme/hamburg/forming/line-1"' in views.live[subject("_model")]


def test_a_definition_that_lacks_its_sources_survives_a_restart() -> None:
    writer = Writer()
    records: Records = [writer.define(0, changed(sources={})), writer.tell(1, temperature=95.0), tick(2, "s")]
    assert cut(records, range(4)) == whole(records)


def from_the_middle(records: Records, first: int) -> dict[str, bytes]:
    """What serve has that begins to read the stream at an offset, and derived state at its oldest event."""
    rules, live, fold = Assets(0, "rules", Rules), LiveValues(), Newest()
    events = rules.batch(batch(records))
    fold.take(live.batch(batch(records[first:], first)))
    fold.take(live.derived(DerivedBatch(0, 0, len(events), list(range(len(events))), events)))
    return {name: value.payload for name, value in fold.values.items()}


STRANGE = changed(derive={"strange": {"rule": "of tomorrow"}})


@pytest.mark.parametrize(
    "models",
    [
        [changed(derive={"overheat": None})],
        [changed(derive={"overheat": None}), BASE],
        [changed(derive={"overheat": {**ALARM, "above": 96.0}})],
        [changed(derive={"overheat": {**ALARM, "above": 96.0}}), changed(derive={"overheat": None})],
        [STRANGE],
        [STRANGE, BASE],
        [STRANGE, changed(derive={"strange": ALARM})],
        [RENAMED, BASE],
    ],
)
def test_metrics_that_have_ended_before_a_view_begins_to_read_are_not_there_again(models: list[Definition]) -> None:
    writer, records = begin()
    records += [writer.define(10 + n, model) for n, model in enumerate(models)]
    first = len(records)
    records += [writer.define(20, models[-1], again=True), tick(21, "s")]
    metrics = {name: payload for name, payload in whole(records).live.items() if name.startswith("state.")}
    found = from_the_middle(records, first)
    assert {name: payload for name, payload in found.items() if name.startswith("state.")} == metrics


POOL: list[Callable[[Definition], Definition]] = [
    lambda model: changed(model, derive={"overheat": {**ALARM, "above": 70.0, "clear_below": 60.0}}),
    lambda model: changed(model, derive={"overheat": {**ALARM, "on_delay": 3 * S}}),
    lambda model: changed(model, derive={"hot": {**ALARM, "below": 80.0, "above": None, "clear_below": None}}),
    lambda model: changed(model, derive={"overheat": None}),
    lambda model: changed(model, derive={"strange": {"rule": "of tomorrow"}}),
    lambda model: changed(model, items={"temperature": item("temperature", unit="K")}),
    lambda model: changed(model, items={"state": item("state", category="CONDITION")}),
    lambda model: changed(model, items={"power": None}),
    lambda model: changed(model, items={"force": Item(source="m", address="f")}),
    lambda model: changed(model, path=AWAY),
    lambda model: changed(model, source=None),
    lambda model: changed(model, source="m"),
    lambda _: RENAMED,
    lambda _: BASE,
]


@st.composite
def changing(draw: st.DrawFn) -> Records:
    """Random streams of two gateways and two assets whose definitions change, also to what nobody can read."""
    writers = [Writer(f"gw-{n}", n) for n in (1, 2)]
    models: dict[tuple[str, str], Definition] = {}
    records: Records = []
    now, run = 0.0, 2
    for _ in range(draw(st.integers(1, 30))):
        now += draw(st.sampled_from([0.0, 0.5, 2.0, 8.0]))
        n, asset = draw(st.sampled_from([0, 0, 0, 1])), draw(st.sampled_from(["press-01", "press-02"]))
        writer = writers[n]
        key = writer.gateway, asset
        match draw(st.integers(0, 9)):
            case 0 | 1 | 2:
                models[key] = draw(st.sampled_from(POOL))(models.get(key, BASE))
                if draw(st.booleans()):
                    run += 1
                    writer = writers[n] = Writer(writer.gateway, run)
                records.append(writer.define(now, models[key], asset, link=draw(st.booleans())))
            case 3:
                records.append(writer.define(now, models.get(key, BASE), asset, again=True))
            case 4:
                if draw(st.booleans()):
                    records.append(writer.remove(now, asset))
                else:
                    broken = writer.define(now, models.get(key, BASE), asset)
                    broken.model, broken.observations[0].value = "broken", {"type": "press"}
                    records.append(broken)
            case 5:
                word = draw(st.sampled_from(["AVAILABLE", "UNAVAILABLE"]))
                said = Observation("_availability", word)
                records.append(writer.frame(now, asset, said, source=draw(st.sampled_from("sm"))))
            case 6:
                named = draw(st.sampled_from([(), ("s",), ("s", "m")]))
                records.append(tick(now, *named, gateway=writer.gateway, run=writer.run))
            case _:
                names = sorted(models.get(key, BASE).items)
                told: dict[str, Value] = {name: _value(draw, name) for name in names if draw(st.booleans())}
                records.append(writer.tell(now, asset, **told))
    return records


def _value(draw: st.DrawFn, name: str) -> Value:
    if name == "state":
        return draw(st.sampled_from(["Idle", "Execute"]))
    return draw(st.sampled_from([50.0, 75.0, 85.0, 95.0]))


@settings(deadline=None, max_examples=150)
@given(changing(), st.lists(st.integers(0, 30), max_size=6), st.integers(0, 3))
def test_changes_of_all_kinds_give_the_same_wherever_the_stream_is_cut(
    records: Records, cuts: list[int], lag: int
) -> None:
    assert cut(records, [c for c in cuts if c < len(records)], lag) == whole(records)


@settings(deadline=None, max_examples=80)
@given(changing())
def test_what_the_definition_in_force_does_not_have_is_not_live(records: Records) -> None:
    records = [r for r in records if isinstance(r, Tick) or r.gateway == "gw-1"]
    views = whole(records)
    for asset, model in in_force(records).items():
        names = {subject.rpartition(".")[2] for subject in views.live if f".{asset}." in subject}
        assert names <= {*model.items, *model.derive, "_model", "_availability", "strange"}


def in_force(records: Iterable[Frame | Tick]) -> dict[str, Definition]:
    """The last definition of each asset that one gateway told and did not remove."""
    found: dict[str, Definition] = {}
    for record in records:
        if isinstance(record, Frame) and record.observations:
            first = record.observations[0]
            if first.item == "_removed":
                found.pop(record.asset, None)
            elif first.item == "_model" and record.model != "broken":
                found[record.asset] = Definition.from_value(first.value)
    return found
