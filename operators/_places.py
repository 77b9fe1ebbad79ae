"""Where assets stand and stood: path and units by the definitions on the stream; live values are published by it."""

from typing import Any

import msgspec

from assets.definition import Definition
from assets.frame import ContractError, Frame, Observation


class Place(msgspec.Struct):
    """What live values need of a definition."""

    path: str
    units: dict[str, str]


class _Models(msgspec.Struct):
    definitions: dict[str, Place]
    paths: dict[str, list[tuple[int, str]]]


class Places:
    """The places of the assets of one partition."""

    def __init__(self) -> None:
        self._models = _Models({}, {})
        self._known: dict[str, str] = {}
        self._frozen: bytes | None = None

    def of(self, model: str, asset: str) -> Place | None:
        """The place by the definition a frame names, else by the last one of its asset."""
        place = self._models.definitions.get(model)
        if place is None and (known := self._known.get(asset)) is not None:
            place = self._models.definitions[known]
        return place

    def path_at(self, asset: str, offset: int) -> str | None:
        """The path that was in force at an offset; the first one before there was any."""
        history = self._models.paths.get(asset)
        if history is None:
            return None
        return next((path for since, path in reversed(history) if since <= offset), history[0][1])

    def define(self, offset: int, frame: Frame, o: Observation) -> bool:
        """Take over a definition; whether something changed. One that cannot be read leaves the last in force."""
        if self._known.get(frame.asset) == frame.model:
            return False
        if frame.model not in self._models.definitions:
            try:
                definition = Definition.from_value(o.value)
            except ContractError:
                return False
            units = {name: item.unit for name, item in definition.items.items() if item.unit is not None}
            self._models.definitions[frame.model] = Place(definition.path, units)
        self._known[frame.asset] = frame.model
        path = self._models.definitions[frame.model].path
        history = self._models.paths.setdefault(frame.asset, [])
        if not history or history[-1][1] != path:
            history.append((offset, path))
        self._frozen = None
        return True

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
