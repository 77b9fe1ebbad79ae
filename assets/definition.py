"""The definition of an asset: its resolved model, as the plant folder says and as the stream carries it in `_model`.

Behind Kafka a flow takes paths, units, limits and rules from here, never from the plant folder, so a changed rule acts
from its offset on, live and rebuilt alike.
"""

import hashlib
import re
from typing import Any, Final, Literal

import msgspec

from assets.frame import ContractError
from assets.names import check_path

Category = Literal["SAMPLE", "EVENT", "CONDITION"]
"""MTConnect: SAMPLE is a number with a unit, EVENT is discrete, CONDITION is a state of health."""


class Counter(msgspec.Struct, omit_defaults=True, frozen=True):
    """How a counting item wraps: it counts 0 .. rollover-1; a larger step than `max_step` is a reset."""

    rollover: int | None = None
    max_step: int | None = None


class Item(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """What an asset can tell. Durations in microseconds, `unit` as UCUM code, limits in that unit.

    A raw value becomes `raw * scale + offset`; a raw value in `missing` means no value. `states` names a vocabulary of
    `assets.states`, `enum` maps raw values (as text) to names. `deadband` is absolute, in `unit`.
    """

    category: Category = "SAMPLE"
    source: str
    address: str
    unit: str | None = None
    range: tuple[float, float] | None = None
    scale: float = 1.0
    offset: float = 0.0
    deadband: float | None = None
    heartbeat: int | None = None
    stale_after: int | None = None
    missing: tuple[float | int | str, ...] = ()
    states: str | None = None
    enum: dict[str, str] | None = None
    counter: Counter | None = None
    was: str | None = None
    writable: bool = False


class SourceModel(msgspec.Struct, frozen=True):
    """What consumers must know of a source: its `ttl` in microseconds without proof before its assets count as lost."""

    ttl: int


class Definition(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """The resolved model of one asset.

    `path` is enterprise/site/area/work_center (ISA-95); `source` is the asset's own source (None when every item names
    one); `derive` maps a metric to its rule: `{"alarm": "temperature", "above": 90, ...}` with durations in us.
    """

    type: str
    path: str
    source: str | None = None
    items: dict[str, Item] = {}
    sources: dict[str, SourceModel] = {}
    derive: dict[str, dict[str, Any]] = {}

    @property
    def model(self) -> str:
        """The 12-digit hash by which frames name this definition."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:12]

    @property
    def all_sources(self) -> frozenset[str]:
        """The asset's own source and those of its items."""
        sources = {item.source for item in self.items.values()}
        return frozenset(sources | {self.source} if self.source else sources)

    def value(self) -> dict[str, Any]:
        """The definition as the value of a `_model` observation."""
        plain: dict[str, Any] = msgspec.to_builtins(self, order="sorted")
        return plain

    @staticmethod
    def from_value(value: object) -> "Definition":
        """Read the value of a `_model` observation; raises `ContractError`."""
        try:
            definition = msgspec.convert(value, Definition)
            check_path(definition.path)
        except ValueError as error:  # of which msgspec.ValidationError is one
            raise ContractError(f"not a definition: {error}") from None
        return definition


_COPY: Final = re.compile(r"-\d+-of-\d+$")


class Teller(msgspec.Struct, array_like=True, frozen=True):
    """Who told a definition: a gateway, in the run that began at `run` (us).

    Where gateways disagree about an asset, the one that started last is right: a repetition by an older one is none.
    """

    gateway: str = ""
    run: int = 0

    def yields_to(self, other: "Teller") -> bool:
        """Whether what the other one tells takes the place of what this one told.

        >>> Teller("gw-1", 200).yields_to(Teller("gw-2", 100)), Teller("gw-1", 200).yields_to(Teller("gw-2", 300))
        (False, True)
        """
        return self.gateway == other.gateway or (self.run, self.gateway) < (other.run, other.gateway)

    def same_gateway(self, gateway: str) -> bool:
        """Whether this is the gateway or another copy of it.

        >>> Teller("gw-1-0-of-2").same_gateway("gw-1-1-of-2"), Teller("gw-1").same_gateway("gw-2")
        (True, False)
        """
        return self.gateway == gateway or _COPY.sub("", self.gateway) == _COPY.sub("", gateway)


class Placement(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """What tells an asset from others of its template: its model, its source and the items that have another one.

    `teller` says who told the definition.
    """

    model: str
    template: str
    teller: Teller = Teller()
    source: str | None = None
    item_sources: dict[str, str] = {}

    @property
    def sources(self) -> set[str]:
        """All sources of the asset."""
        return {*self.item_sources.values(), *([self.source] if self.source else [])}


def split(definition: Definition, model: str, teller: Teller = Teller()) -> tuple[Definition, Placement]:  # noqa: B008
    """A definition as a template, which like assets share, and a small placement: what keyed state keeps per asset.

    Addresses are left out: behind Kafka nobody asks for them.
    """
    items = {name: msgspec.structs.replace(item, source="", address="") for name, item in definition.items.items()}
    template = msgspec.structs.replace(definition, source=None, items=items, sources={})
    foreign = {name: item.source for name, item in definition.items.items() if item.source != definition.source}
    return template, Placement(
        model=model, template=template.model, teller=teller, source=definition.source, item_sources=foreign
    )


def join(template: Definition, placement: Placement, ttls: dict[str, int]) -> Definition:
    """The definition again, without addresses; `ttls` are those of its sources, in microseconds."""
    items = {
        name: msgspec.structs.replace(item, source=placement.item_sources.get(name, placement.source or ""))
        for name, item in template.items.items()
    }
    sources = {name: SourceModel(ttls[name]) for name in sorted(placement.sources) if name in ttls}
    return msgspec.structs.replace(template, source=placement.source, items=items, sources=sources)
