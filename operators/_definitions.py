"""Which definition of each asset is in force: of gateways that disagree, the one that started last is right.

A gateway that has gone silent keeps nobody's definition from coming into force. What cannot be read, and what an older
gateway repeats against the definition in force, is refused: once, until another definition comes into force.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from assets.batch import Rejected
from assets.definition import Definition, Placement, Teller, join, split
from assets.fields import Value
from assets.frame import ContractError, Frame, encode_frame
from assets.stream import ASSET_STREAM
from operators._progress import Progress

MOST_REFUSED: Final = 16
"""How many refused definitions of an asset are remembered, so that each makes one dead letter."""
MOST_SHARED: Final = 64
"""How many definitions are remembered, so that the next asset of which the same is told finds it read."""


class Taken(NamedTuple):
    """A definition that comes into force: the ttl of each source (us) if it says so, and the sources left."""

    definition: Definition
    ttls: Mapping[str, int | None]
    left: set[str]


class _Told(NamedTuple):
    """A definition that was told, and what is made of it: nobody changes it, so all assets told the same share it."""

    definition: Definition
    template: Definition
    placement: Placement
    ttls: Mapping[str, int | None]


class Definitions(msgspec.Struct, dict=True):
    """The definitions in force of one partition, each distinct one kept once; plain state for a snapshot."""

    templates: dict[str, Definition] = {}
    placements: dict[str, Placement] = {}
    refused: dict[str, list[str]] = {}

    def __post_init__(self) -> None:
        self._read: dict[tuple[bytes, str, Teller], _Told] = {}
        self._uses = Counter(placement.template for placement in self.placements.values())

    def take(self, at: tuple[int, int], frame: Frame, value: Value, progress: Progress) -> Taken | Rejected | None:
        """What a `_model` in the record at (partition, offset) changes; the frame's hash tells at once if it is new."""
        asset, teller = frame.asset, Teller(frame.gateway, frame.run)
        progress.hear(frame.gateway)
        known = self.placements.get(asset)
        if known is not None and known.model == frame.model:
            if known.teller != teller and progress.gives_way(known.teller, teller):
                self.placements[asset] = msgspec.structs.replace(known, teller=teller)
            return None
        try:
            told = self._told(value, frame.model, teller)
        except ContractError as error:
            return self._refuse(at, frame, "definition", str(error))
        if known is not None and not progress.gives_way(known.teller, teller):
            return self._refuse(at, frame, "conflict", conflict(frame, known.teller))
        self.templates.setdefault(told.placement.template, told.template)
        self._uses[told.placement.template] += 1
        self._forget(known)
        self.placements[asset] = told.placement
        self.refused.pop(asset, None)
        return Taken(told.definition, told.ttls, set() if known is None else _left(known, told.placement))

    def _told(self, value: Value, model: str, teller: Teller) -> _Told:
        """What a `_model` says; raises `ContractError`."""
        key = msgspec.json.encode(value), model, teller
        told = self._read.get(key)
        if told is None:
            definition = Definition.from_value(value)
            said = {name: source.ttl for name, source in definition.sources.items()}
            template, placement = split(definition, model, teller)
            ttls = {name: said.get(name) for name in sorted({*said, *placement.sources})}
            told = self._read[key] = _Told(definition, template, placement, ttls)
            if len(self._read) > MOST_SHARED:
                del self._read[next(iter(self._read))]
        return told

    def _refuse(self, at: tuple[int, int], frame: Frame, reason: str, detail: str) -> Rejected | None:
        refused = self.refused.setdefault(frame.asset, [])
        if frame.model in refused:
            return None
        refused.append(frame.model)
        del refused[:-MOST_REFUSED]
        origin = f"{ASSET_STREAM}/{at[0]}/{at[1]}"
        return Rejected(encode_frame(frame), reason, detail, origin, at[0], frame.asset.encode())

    @property
    def sources(self) -> set[str]:
        """All sources that definitions in force name."""
        return {name for placement in self.placements.values() for name in placement.sources}

    def may_remove(self, frame: Frame) -> bool:
        """Whether the writer of the frame can say that its asset is gone: not if another gateway has taken it over."""
        known = self.placements.get(frame.asset)
        return known is None or known.teller.same_gateway(frame.gateway)

    def remove(self, asset: str) -> None:
        """Forget an asset."""
        self.refused.pop(asset, None)
        self._forget(self.placements.pop(asset, None))

    def _forget(self, placement: Placement | None) -> None:
        """A placement is no more, nor is its template if no other one names it."""
        if placement is None:
            return
        self._uses[placement.template] -= 1
        if not self._uses[placement.template]:
            del self._uses[placement.template], self.templates[placement.template]

    def by_asset(self, ttls: dict[str, int]) -> dict[str, Definition]:
        """The definitions in force, without addresses; assets that differ in nothing share one."""
        made: dict[Any, Definition] = {}
        found = {}
        for asset, placement in self.placements.items():
            key = placement.template, placement.source, *sorted(placement.item_sources.items())
            if key not in made:
                made[key] = join(self.templates[placement.template], placement, ttls)
            found[asset] = made[key]
        return found


def conflict(frame: Frame, teller: Teller) -> str:
    """What is wrong with a definition that is not in force, and what to do."""
    return (
        f'gateway "{frame.gateway}" defines asset "{frame.asset}" as {frame.model}, but gateway "{teller.gateway}", '
        "which started later, defines it otherwise; the later one is in force as long as it is there: give both the "
        f'same plant folder, or take the asset out of that of "{frame.gateway}", and start it again'
    )


def _left(known: Placement, now: Placement) -> set[str]:
    """Sources that the asset is no longer read from; all of them if another one has become its own."""
    return known.sources - now.sources if known.source == now.source else known.sources
