"""Where assets stand and stood: path and units by the definitions on the stream; live values are published by it."""

from typing import Any

import msgspec

from assets.definition import Definition
from assets.frame import ContractError, Frame, Observation


class Place(msgspec.Struct):
    """What live values need of a definition."""

    path: str
    units: dict[str, str]


class Stand(msgspec.Struct):
    """Where an asset stands, since which offset it is this asset (0: before all we read), and whether it is gone."""

    path: str
    since: int = 0
    gone: bool = False


class _Models(msgspec.Struct):
    definitions: dict[str, Place]
    stands: dict[str, Stand]


Left = tuple[str, str | None]
"""The path that an asset has left, and the one under which its values go on."""


class Places:
    """The places of the assets of one partition."""

    def __init__(self) -> None:
        self._models = _Models({}, {})
        self._known: dict[str, str] = {}
        self._frozen: bytes | None = None

    def of(self, model: str, asset: str) -> Place | None:
        """The place by the definition a frame names, else by the last one of its asset.

        An asset has none before its own definition was told, though another one may share it: whoever does not know
        where it stands could not end its subjects when it moves.
        """
        known = self._known.get(asset)
        if known is None:
            return None
        return self._models.definitions.get(model) or self._models.definitions[known]

    def stand(self, asset: str) -> Stand | None:
        """Where an asset stands, or stood when it was removed."""
        return self._models.stands.get(asset)

    def define(self, offset: int, frame: Frame, o: Observation) -> Left | None:
        """Take over a definition; one that cannot be read leaves the last in force."""
        asset = frame.asset
        if self._known.get(asset) == frame.model:
            return None
        if frame.model not in self._models.definitions:
            try:
                definition = Definition.from_value(o.value)
            except ContractError:
                return None
            units = {name: item.unit for name, item in definition.items.items() if item.unit is not None}
            self._models.definitions[frame.model] = Place(definition.path, units)
        self._known[asset] = frame.model
        self._frozen = None
        return self._stand(asset, self._models.definitions[frame.model].path, offset)

    def _stand(self, asset: str, path: str, offset: int) -> Left | None:
        stands, before = self._models.stands, self._models.stands.get(asset)
        if before is None:
            stands[asset] = Stand(path)
        elif before.gone:
            stands[asset] = Stand(path, offset)
            return before.path, None
        elif before.path != path:
            stands[asset] = Stand(path, before.since)
            return before.path, path
        return None

    def remove(self, offset: int, asset: str) -> Left | None:
        """The asset is gone from the plant."""
        model, stand = self._known.pop(asset, None), self._models.stands.get(asset)
        if model is None or stand is None:
            return None
        if model not in self._known.values():
            del self._models.definitions[model]
        self._models.stands[asset] = Stand(stand.path, offset, gone=True)
        self._frozen = None
        return stand.path, None

    def save(self) -> msgspec.Raw:
        """All of it as msgpack; it seldom changes, so it is encoded once."""
        if self._frozen is None:
            models: Any = (self._models, self._known)
            self._frozen = msgspec.msgpack.encode(models)
        return msgspec.Raw(self._frozen)

    def load(self, saved: msgspec.Raw) -> None:
        """Take over what was saved; raises `msgspec.DecodeError`."""
        self._frozen = bytes(saved)
        self._models, self._known = msgspec.msgpack.decode(self._frozen, type=tuple[_Models, dict[str, str]])
