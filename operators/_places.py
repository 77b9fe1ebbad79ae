"""Where assets stand and stood: path, items and units by the definitions on the stream; live values follow it."""

import hashlib
from collections import Counter
from typing import Final, NamedTuple

import msgspec

from assets.definition import Definition, Teller
from assets.frame import ContractError, Frame, Observation
from operators._progress import Progress

BEFORE_ALL: Final = (0, -1)
MOST_OTHERS: Final = 8
"""Of how many gateways that disagree about an asset the definitions are kept which are not in force."""


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

    @property
    def key(self) -> str:
        """The 12-digit hash by which stands name it; assets that differ in addresses or sources alone share one."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:12]


class Named(NamedTuple):
    """A definition by the hash in frames, and its place."""

    model: str
    place: str


class Stand(msgspec.Struct):
    """Where an asset stands by the definition in force, which `teller` told; `model` None: the asset is gone.

    It is this asset since the offset `since` (0: before all we read). `ended` says where metrics came to their end:
    at offset and index of a definition that no longer has them. `others` has, by gateway, the newest definition of each
    that tells another one than is in force: the frames of that gateway are read by it.
    """

    path: str
    since: int = 0
    model: str | None = None
    place: str = ""
    teller: Teller = Teller()
    ended: dict[str, tuple[int, int]] = {}
    others: dict[str, Named] = {}

    @property
    def gone(self) -> bool:
        """Whether the asset was removed."""
        return self.model is None


class _Models(msgspec.Struct):
    places: dict[str, Place]
    stands: dict[str, Stand]


class _Saved(msgspec.Struct):
    progress: Progress
    models: msgspec.Raw


class Left(NamedTuple):
    """What ends with a changed definition: the path before, and the one under which values go on.

    `items` have ended at the path before, each with the name under which it goes on, if any; so have `metrics`.
    """

    before: str
    now: str | None
    items: dict[str, str | None]
    metrics: list[str]


class Places:
    """The places of the assets of one partition; each distinct one is kept once, and as long as a stand names it."""

    def __init__(self) -> None:
        self._models = _Models({}, {})
        self._uses: Counter[str] = Counter()
        self._frozen: bytes | None = None
        self.progress = Progress()

    def of(self, model: str, asset: str) -> tuple[Place | None, str]:
        """What an asset's frame can tell, by the definition that it names, else by the one in force; and its path.

        An asset has none before its own definition was told, though another one may share it: whoever does not know
        where it stands could not end its subjects when it moves.
        """
        stand, places = self._models.stands.get(asset), self._models.places
        if stand is None or stand.model is None:
            return None, ""
        if stand.model != model and stand.others:
            for other in stand.others.values():
                if other.model == model:
                    return places[other.place], stand.path
        return places[stand.place], stand.path

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
        """Take over the definition told at (offset, index), unless it must give way to the one in force.

        One that cannot be read leaves the last in force.
        """
        before, teller = self._models.stands.get(frame.asset), Teller(frame.gateway, frame.run)
        self.progress.hear(frame.gateway)
        if before is not None and before.model == frame.model:
            self._repeated(before, teller)
            return None
        if before is not None and self._is_repeated_in_vain(before, frame.model, teller):
            return None
        try:
            place = Place.of(Definition.from_value(o.value))
        except ContractError:
            return None
        self._frozen = None
        told = Named(frame.model, self._keep(place))
        if before is None or before.gone:
            since = 0 if before is None else origin[0]
            self._models.stands[frame.asset] = Stand(place.path, since, told.model, told.place, teller)
            return None if before is None else Left(before.path, None, {}, [])
        return self._change(origin, before, told, teller)

    def _is_repeated_in_vain(self, stand: Stand, model: str, teller: Teller) -> bool:
        known = stand.others.get(teller.gateway)
        return known is not None and known.model == model and not self.progress.gives_way(stand.teller, teller)

    def _repeated(self, stand: Stand, teller: Teller) -> None:
        """The definition in force is told again, perhaps by another gateway or run."""
        if teller.gateway in stand.others:
            self._drop(stand.others.pop(teller.gateway))
            self._frozen = None
        if stand.teller != teller and self.progress.gives_way(stand.teller, teller):
            stand.teller, self._frozen = teller, None

    def _change(self, origin: tuple[int, int], stand: Stand, told: Named, teller: Teller) -> Left | None:
        """Let another definition come into force, or keep it beside the one in force: frames that name it need it."""
        if teller.gateway in stand.others:
            self._drop(stand.others.pop(teller.gateway))
        if not self.progress.gives_way(stand.teller, teller):
            self._set_aside(stand, teller.gateway, told)
            return None
        before, after = self._models.places[stand.place], self._models.places[told.place]
        replaced = Named(stand.model or "", stand.place)
        if stand.teller.gateway == teller.gateway:
            self._drop(replaced)
        else:
            self._set_aside(stand, stand.teller.gateway, replaced)
        path, metrics = stand.path, sorted(set(before.metrics) - set(after.metrics))
        stand.path, stand.teller, (stand.model, stand.place) = after.path, teller, told
        stand.ended.update(dict.fromkeys(metrics, origin))
        return Left(path, after.path, _ended(before, after), metrics)

    def remove(self, offset: int, frame: Frame) -> Left | None:
        """The asset is gone from the plant, if the gateway that defined it says so."""
        stand = self._models.stands.get(frame.asset)
        if stand is None or stand.model is None or not stand.teller.same_gateway(frame.gateway):
            return None
        self._models.stands[frame.asset] = Stand(stand.path, offset)
        for named in (Named(stand.model, stand.place), *stand.others.values()):
            self._drop(named)
        self._frozen = None
        return Left(stand.path, None, {}, [])

    def has_ended(self, stand: Stand, metric: str, basis: tuple[int, int]) -> bool:
        """Whether a metric came to its end where a derived event has its basis, or after; none comes from before it."""
        if not stand.ended:
            return False
        last = stand.ended.get(metric, BEFORE_ALL)
        if any(at < basis[0] for at, _ in stand.ended.values()):
            stand.ended = {name: at for name, at in stand.ended.items() if at[0] >= basis[0]}
            self._frozen = None
        return basis <= last

    def _keep(self, place: Place) -> str:
        key = place.key
        self._models.places.setdefault(key, place)
        self._uses[key] += 1
        return key

    def _drop(self, named: Named) -> None:
        self._uses[named.place] -= 1
        if not self._uses[named.place]:
            del self._uses[named.place], self._models.places[named.place]

    def _set_aside(self, stand: Stand, gateway: str, named: Named) -> None:
        stand.others[gateway] = named
        if len(stand.others) > MOST_OTHERS:
            self._drop(stand.others.pop(next(iter(stand.others))))

    def save(self) -> msgspec.Raw:
        """All of it as msgpack; what stands where seldom changes, so it is encoded once."""
        if self._frozen is None:
            self._frozen = msgspec.msgpack.encode(self._models)
        return msgspec.Raw(msgspec.msgpack.encode(_Saved(self.progress, msgspec.Raw(self._frozen))))

    def load(self, saved: msgspec.Raw) -> None:
        """Take over what was saved; raises `msgspec.DecodeError`."""
        both = msgspec.msgpack.decode(saved, type=_Saved)
        self.progress, self._frozen = both.progress, bytes(both.models)
        self._models = msgspec.msgpack.decode(self._frozen, type=_Models)
        living = [stand for stand in self._models.stands.values() if not stand.gone]
        self._uses = Counter(stand.place for stand in living)
        self._uses.update(other.place for stand in living for other in stand.others.values())


def _ended(before: Place, after: Place) -> dict[str, str | None]:
    """Items that are no longer there, each with its new name, if it has one."""
    renamed: dict[str, str | None] = {
        old: name for name, old in after.former.items() if name not in before.items and old not in after.items
    }
    return {name: renamed.get(name) for name in sorted(before.items) if name not in after.items}
