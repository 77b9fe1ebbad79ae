"""Where assets stand and stood: path, items and units by the definitions on the stream; live values follow it."""

from typing import Final, NamedTuple

import msgspec

from assets.definition import Definition, Teller
from assets.frame import ContractError, Frame, Observation

BEFORE_ALL: Final = (0, -1)


class Place(msgspec.Struct):
    """What live values need of a definition: `items` with their units, the former names of some, the metrics."""

    path: str
    items: dict[str, str | None]
    former: dict[str, str]
    metrics: list[str]

    @classmethod
    def of(cls, definition: Definition) -> "Place":
        """The part of a definition."""
        items = definition.items.items()
        return cls(
            definition.path,
            {name: item.unit for name, item in items},
            {name: item.was for name, item in items if item.was is not None},
            sorted(definition.derive),
        )


class Stand(msgspec.Struct):
    """Where an asset stands by the definition in force, which `teller` told; `model` None: the asset is gone.

    It is this asset since the offset `since` (0: before all we read). `ended` says where metrics came to their end:
    at offset and index of a definition that no longer has them.
    """

    path: str
    since: int = 0
    model: str | None = None
    teller: Teller = Teller()
    ended: dict[str, tuple[int, int]] = {}

    @property
    def gone(self) -> bool:
        """Whether the asset was removed."""
        return self.model is None


class _Models(msgspec.Struct):
    definitions: dict[str, Place]
    stands: dict[str, Stand]


class Left(NamedTuple):
    """What ends with a changed definition: the path before, and the one under which values go on.

    `items` have ended at the path before, each with the name under which it goes on, if any; so have `metrics`.
    """

    before: str
    now: str | None
    items: dict[str, str | None]
    metrics: list[str]


class Places:
    """The places of the assets of one partition."""

    def __init__(self) -> None:
        self._models = _Models({}, {})
        self._frozen: bytes | None = None

    def of(self, model: str, asset: str) -> Place | None:
        """What an asset's frame can tell: by the definition that it names, else by the one in force.

        An asset has none before its own definition was told, though another one may share it: whoever does not know
        where it stands could not end its subjects when it moves.
        """
        stand, definitions = self._models.stands.get(asset), self._models.definitions
        if stand is None or stand.model is None:
            return None
        return definitions.get(model) or definitions[stand.model]

    def begins_after(self, asset: str, offset: int) -> None:
        """What stood under this id up to an offset was another asset."""
        self._models.stands[asset].since = offset + 1
        self._frozen = None

    def stand(self, asset: str) -> Stand | None:
        """Where an asset stands, or stood when it was removed."""
        return self._models.stands.get(asset)

    def in_force(self, frame: Frame) -> bool:
        """Whether the definition in force is the one that a frame names."""
        stand = self._models.stands.get(frame.asset)
        return stand is not None and stand.model == frame.model

    def define(self, origin: tuple[int, int], frame: Frame, o: Observation) -> Left | None:
        """Take over the definition told at (offset, index), unless that of a gateway which started later is in force.

        One that cannot be read leaves the last in force.
        """
        before, teller = self._models.stands.get(frame.asset), Teller(frame.gateway, frame.run)
        if before is not None and before.model == frame.model:
            if before.teller != teller and before.teller.yields_to(teller):
                before.teller, self._frozen = teller, None
            return None
        if (place := self._place(frame.model, o)) is None:
            return None
        self._frozen = None
        if before is None or before.gone:
            since = 0 if before is None else origin[0]
            self._models.stands[frame.asset] = Stand(place.path, since, frame.model, teller)
            return None if before is None else Left(before.path, None, {}, [])
        return self._change(origin, before, Stand(place.path, before.since, frame.model, teller))

    def _place(self, model: str, o: Observation) -> Place | None:
        """The place by a definition, kept whether it comes into force or not: frames that name it are read by it."""
        if (known := self._models.definitions.get(model)) is not None:
            return known
        try:
            place = self._models.definitions[model] = Place.of(Definition.from_value(o.value))
        except ContractError:
            return None
        return place

    def _change(self, origin: tuple[int, int], stand: Stand, now: Stand) -> Left | None:
        if stand.model is None or now.model is None or not stand.teller.yields_to(now.teller):
            return None
        before, after = (self._models.definitions[model] for model in (stand.model, now.model))
        metrics = sorted(set(before.metrics) - set(after.metrics))
        stand.path, stand.model, stand.teller = now.path, now.model, now.teller
        stand.ended.update(dict.fromkeys(metrics, origin))
        return Left(before.path, after.path, _ended(before, after), metrics)

    def remove(self, offset: int, frame: Frame) -> Left | None:
        """The asset is gone from the plant, if the gateway that defined it says so."""
        stand = self._models.stands.get(frame.asset)
        if stand is None or stand.model is None or not stand.teller.same_gateway(frame.gateway):
            return None
        self._models.stands[frame.asset] = Stand(stand.path, offset)
        if all(other.model != stand.model for other in self._models.stands.values()):
            del self._models.definitions[stand.model]
        self._frozen = None
        return Left(stand.path, None, {}, [])

    def save(self) -> msgspec.Raw:
        """All of it as msgpack; it seldom changes, so it is encoded once."""
        if self._frozen is None:
            self._frozen = msgspec.msgpack.encode(self._models)
        return msgspec.Raw(self._frozen)

    def load(self, saved: msgspec.Raw) -> None:
        """Take over what was saved; raises `msgspec.DecodeError`."""
        self._frozen = bytes(saved)
        self._models = msgspec.msgpack.decode(self._frozen, type=_Models)


def _ended(before: Place, after: Place) -> dict[str, str | None]:
    """Items that are no longer there, each with its new name, if it has one."""
    renamed: dict[str, str | None] = {
        old: name for name, old in after.former.items() if name not in before.items and old not in after.items
    }
    return {name: renamed.get(name) for name in sorted(before.items) if name not in after.items}
