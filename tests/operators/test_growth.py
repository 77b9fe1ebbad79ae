"""State and memory are those of the definitions in force: they do not grow with every edit of a plant."""

import gc
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import msgspec

from assets.batch import DerivedBatch
from assets.definition import Definition, Item
from assets.frame import Frame, Tick
from operators import rules
from operators._assets import Assets
from operators._definitions import MOST_SHARED
from operators.live_values import LiveValues
from operators.rules import Rules
from tests.streams import S, batch, definition, frame, tick

ASSETS = 20


def edited(edit: int, n: int) -> Definition:
    """A press with addresses of its own, whose limit, items and metrics change with every edit."""
    model = definition(overheat={"rule": "alarm", "item": "temperature", "above": 90.0 + edit})
    model.derive[f"running-{edit:03}"] = {"rule": "durations", "item": "state"}
    items = {**model.items, f"extra-{edit:03}": Item(source="s", address=f"extra-{n}")}
    return msgspec.structs.replace(model, path=f"acme/hamburg/forming/line-{edit % 7}", items=items)


def told(edit: int, n: int, gateway: str = "gw-1", run: int | None = None) -> Frame:
    model = edited(edit, n)
    made = frame(edit, ("_model", model.value()), asset=f"press-{n:02}", gateway=gateway, run=run or edit + 1)
    made.model = model.model
    return made


def feed(rounds: Iterator[Sequence[Frame | Tick]]) -> Iterator[tuple[Assets[Any], LiveValues]]:
    """Derive and serve after each round."""
    derive: Assets[Any] = Assets(0, "rules", Rules)
    serve, first, events = LiveValues(), 0, 0
    for records in rounds:
        made = derive.batch(batch(records, first))
        serve.batch(batch(records, first))
        serve.derived(DerivedBatch(0, events, events + len(made), list(range(len(made))), made))
        first, events = first + len(records), events + len(made)
        yield derive, serve


def sizes(rounds: Iterator[Sequence[Frame | Tick]]) -> list[tuple[int, ...]]:
    """After each round: the snapshots in bytes, without what two integers more take, and what modules keep."""
    found: list[tuple[int, ...]] = []
    before = len(rules._bindings), len(rules._compiled)
    for derive, serve in feed(rounds):
        gc.collect()
        kept = len(rules._bindings) - before[0], len(rules._compiled) - before[1]
        found.append((len(derive.save()) // 1000, len(serve.save()) // 1000, *kept))
    return found


def test_edits_of_a_plant_leave_nothing_behind() -> None:
    found = sizes([told(edit, n) for n in range(ASSETS)] for edit in range(80))
    assert found[2] == found[40] == found[-1]


def test_a_definition_that_many_assets_have_is_read_once_and_not_remembered_for_ever() -> None:
    same = [edited(1, 0).value() for _ in range(ASSETS)]
    frames = [frame(1, ("_model", value), asset=f"press-{n:02}") for n, value in enumerate(same)]
    derive: Assets[Any] = Assets(0, "rules", Rules)
    derive.batch(batch(frames))
    assert len({id(placement) for placement in derive._definitions.placements.values()}) == 1
    derive.batch(batch([told(2, n) for n in range(2 * MOST_SHARED)], ASSETS))
    assert len(derive._definitions._read) == MOST_SHARED


def test_gateways_that_disagree_for_ever_leave_nothing_behind() -> None:
    def rounds() -> Iterator[Sequence[Frame | Tick]]:
        for edit in range(40):
            late = [told(edit, n) for n in range(ASSETS)]
            yield late + [told(edit + 7, n, "gw-0", 1) for n in range(ASSETS)]

    found = sizes(rounds())
    assert found[20] == found[-1]


def test_gateways_of_ever_new_names_leave_nothing_behind() -> None:
    def rounds() -> Iterator[Sequence[Frame | Tick]]:
        for edit in range(40):
            ticks = [tick(5 * (edit * 70 + n), gateway="gw-clock") for n in range(70)]
            yield [*ticks, *(told(edit, n, f"gw-{edit:03}") for n in range(ASSETS))]

    found = sizes(rounds())
    assert found[20] == found[-1]


def test_assets_that_differ_in_addresses_alone_share_a_place() -> None:
    ((_, serve),) = feed(iter([[told(1, n) for n in range(ASSETS)]]))
    assert len(serve._places._models.places) == 1
    assert len({edited(1, n).model for n in range(ASSETS)}) == ASSETS


def test_the_last_one_to_leave_a_place_takes_it_along_also_after_a_restart() -> None:
    *_, (_, serve) = feed(iter([[told(1, n), told(2, n, "gw-0")] for n in range(ASSETS)]))
    again = LiveValues()
    again.load(serve.save())
    offset = count(1000)
    for n in range(ASSETS):
        removed = told(2, n, "gw-0")
        removed.observations = frame(3, ("_removed", True)).observations
        again.batch(batch([removed], next(offset)))
    assert again._places._models.places == {}


def test_frames_of_a_gateway_that_disagrees_have_its_units_also_after_a_restart() -> None:
    kelvin = msgspec.structs.replace(
        edited(1, 0), items={**edited(1, 0).items, "temperature": Item(source="s", address="t", unit="K")}
    )
    old = frame(1, ("_model", kelvin.value()), asset="press-00", gateway="gw-0", run=1)
    values = frame(2, ("temperature", 300.0, 0, 2 * S), asset="press-00", gateway="gw-0", run=1)
    old.model = values.model = kelvin.model
    for records in ([old, told(1, 0)], [told(1, 0), old]):
        serve, again = LiveValues(), LiveValues()
        serve.batch(batch(records))
        again.load(serve.save())
        for each in (serve, again):
            (live,) = each.batch(batch([values], 2))
            assert b'"unit":"K"' in live.payload
