"""Definitions: one hash per meaning, on every machine and for ever."""

import msgspec
import pytest

from assets.definition import Counter, Definition, Item, SourceModel
from assets.frame import ContractError

DEFINITION = Definition(
    type="press",
    path="acme/hamburg/forming/line-1",
    source="forming",
    items={
        "temperature": Item(source="forming", address="s=t", unit="Cel", range=(-20.0, 300.0), missing=(-999, "n/a")),
        "state": Item(category="EVENT", source="forming", address="s=s", states="packml"),
        "parts": Item(source="forming", address="s=p", counter=Counter(rollover=65536)),
    },
    sources={"forming": SourceModel(10_000_000)},
    derive={"overheat": {"rule": "alarm", "item": "temperature", "above": 90.0, "on_delay": 5_000_000}},
)


def test_the_hash_of_a_definition_is_the_same_for_ever() -> None:
    assert DEFINITION.model == "a6b6f267de6d"


def test_order_is_not_part_of_the_meaning() -> None:
    turned = msgspec.structs.replace(DEFINITION, items=dict(reversed(DEFINITION.items.items())))
    assert turned.model == DEFINITION.model


@pytest.mark.parametrize(
    "change",
    [
        {"path": "acme/hamburg/forming/line-2"},
        {"source": None},
        {"items": {}},
        {"sources": {"forming": SourceModel(9)}},
        {"derive": {}},
    ],
)
def test_every_change_of_meaning_changes_the_hash(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(DEFINITION, **change).model != DEFINITION.model


def test_a_definition_survives_json() -> None:
    again = Definition.from_value(msgspec.json.decode(msgspec.json.encode(DEFINITION.value())))
    assert (again, again.model) == (DEFINITION, DEFINITION.model)


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"type": 1, "path": "a/b/c/d"}, {"type": "t", "path": None}])
def test_what_is_no_definition_is_a_contract_error(value: object) -> None:
    with pytest.raises(ContractError, match=r"^not a definition: "):
        Definition.from_value(value)
