"""Last values of a gateway's earlier runs, across renamed items and changed meanings."""

import itertools
from typing import Any

import pytest

from assets.definition import Definition, Item
from assets.frame import Flag, Frame, Observation
from assets.plant import Binding
from assets.reading import Mark, Reading, Readings
from operators._last_values import LastValues
from operators.normalize import Normalizer
from tests.changes import Writer, changed, item
from tests.streams import S

TEMPERATURE = item("temperature")


def plant(**items: Item) -> Definition:
    return changed(items={"temperature": None, "state": None, "power": None, **items}, derive={})


def after(*told: Definition | dict[str, Any]) -> LastValues:
    """What is known after definitions and values, in order."""
    values, writer = LastValues(), Writer()
    for n, each in enumerate(told):
        values.take(writer.define(n, each) if isinstance(each, Definition) else writer.tell(n, **each))
    return values


def known(values: LastValues) -> dict[str, Any]:
    return {name: o.value for (_, name), o in values.values.items()}


def test_the_value_of_a_renamed_item_goes_on_under_its_new_name() -> None:
    before, now = plant(temperature=TEMPERATURE), plant(core=item("temperature", was="temperature"))
    values = after(before, {"temperature": 81.0})
    values.define("press-01", now)
    assert (known(values), values.stale) == ({"core": 81.0}, set())
    assert known(after(before, {"temperature": 81.0}, now, {"core": 82.0}, now)) == {"core": 82.0}


def test_a_value_is_followed_through_all_names() -> None:
    names = ["a", "b", "c", "a"]
    told = [plant(a=TEMPERATURE)]
    told += [plant(**{name: item("temperature", was=was)}) for was, name in itertools.pairwise(names)]
    assert known(after(told[0], {"a": 5.0}, *told[1:])) == {"a": 5.0}


@pytest.mark.parametrize("other", [{"unit": "K"}, {"scale": 0.1}, {"category": "EVENT"}, {"enum": {"1": "on"}}])
@pytest.mark.parametrize("name", ["temperature", "core"])
def test_a_value_of_another_meaning_is_stale_until_the_next(other: dict[str, Any], name: str) -> None:
    before = plant(temperature=TEMPERATURE)
    now = plant(**{name: item("temperature", was="temperature" if name == "core" else None, **other)})
    values = after(before, {"temperature": 81.0}, now)
    assert values.stale == {("press-01", name)}
    assert after(before, {"temperature": 81.0}, now, {name: 1}).stale == set()
    assert after(before, {"temperature": 81.0}, before).stale == set()


def test_a_new_address_or_deadband_is_no_new_meaning() -> None:
    now = plant(temperature=item("temperature", address="t2", deadband=0.5, range=(0.0, 9.0)))
    assert after(plant(temperature=TEMPERATURE), {"temperature": 81.0}, now).stale == set()


def test_nothing_is_known_of_an_asset_that_was_removed_or_defined_unreadably() -> None:
    values, writer = after(plant(temperature=TEMPERATURE), {"temperature": 81.0}), Writer()
    values.take(Frame(1, "press-01", "s", "gw-1", 1, 1, 0, "broken", [Observation("_model", {"type": 1})]))
    assert known(values) == {"temperature": 81.0}
    values.take(writer.remove(9))
    assert known(values) == {}


def told_again(values: LastValues, name: str, definition: Item, reading: Reading) -> list[Observation]:
    """What a new run makes of a reading, and its first key frame."""
    normalizer = Normalizer("s", {"t": [Binding("press-01", name, definition)]})
    normalizer.seed(values.values, None, values.stale)
    said, _ = normalizer.take([Mark(60 * S, True, 0), Readings(60 * S, [reading])])
    return [o for frame in said if isinstance(frame, Frame) for o in frame.observations if o.item[0] != "_"]


def test_what_a_device_delivers_again_is_known_under_the_new_name() -> None:
    values = after(plant(temperature=TEMPERATURE), {"temperature": 81.0})
    values.values["press-01", "temperature"].source_time = S
    core = item("temperature", was="temperature")
    values.define("press-01", plant(core=core))
    assert told_again(values, "core", core, Reading("t", 81.0, 0, S, int(Flag.REPLAYED))) == [
        Observation("core", 81.0, 0, S, int(Flag.KEYFRAME))
    ]
    values.values["press-01", "core"].source_time = S
    initial = told_again(values, "core", core, Reading("t", 81.0, 0, S, int(Flag.INITIAL)))
    assert initial[-1] == Observation("core", 81.0, 0, S, int(Flag.INITIAL | Flag.REDELIVERED))


def test_a_value_in_the_old_unit_is_never_told_as_one_in_the_new() -> None:
    kelvin = item("temperature", unit="K")
    values = after(plant(temperature=TEMPERATURE), {"temperature": 81.0})
    values.values["press-01", "temperature"].source_time = S
    values.define("press-01", plant(temperature=kelvin))
    assert told_again(values, "temperature", kelvin, Reading("t", 354.0, 0, 2 * S)) == [
        Observation("temperature", 354.0, 0, 2 * S, 0)
    ]
    assert told_again(values, "temperature", kelvin, Reading("t", 354.0, 0, S, int(Flag.REPLAYED))) == [
        Observation("temperature", 354.0, 0, S, int(Flag.REPLAYED | Flag.REDELIVERED))
    ]
