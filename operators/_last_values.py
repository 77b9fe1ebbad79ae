"""What a gateway published last of each item, carried over when a definition gives an item another name or meaning."""

from typing import Any, Final

from assets.definition import Definition, Item
from assets.fields import Value
from assets.frame import ContractError, Flag, Frame, Observation
from assets.stream import MODEL, REMOVED

_KEYFRAME: Final = int(Flag.KEYFRAME)

Key = tuple[str, str]
"""Asset and item."""


class LastValues:
    """The last values of all assets of a gateway; fed its frames in order."""

    def __init__(self) -> None:
        self.values: dict[Key, Observation] = {}
        """What was published last; `time` is when it was received."""
        self.stale: set[Key] = set()
        """Those that were published before the item got another meaning: they say nothing of what it is now."""
        self._models: dict[str, str] = {}
        self._meanings: dict[str, dict[str, Any]] = {}

    def take(self, frame: Frame) -> None:
        """Take over a frame's values; what is only repeated says nothing of when it came."""
        values, asset = self.values, frame.asset
        for o in frame.observations:
            key = asset, o.item
            if o.item == MODEL:
                self._model(asset, frame.model, o.value)
            elif o.item == REMOVED:
                self._forget(asset)
            elif o.item[0] != "_" and not (o.flags & _KEYFRAME and key in values):
                o.time = frame.received
                values[key] = o
                self.stale.discard(key)

    def define(self, asset: str, definition: Definition) -> None:
        """Let the values of renamed items go on under their new names, and find those of another meaning."""
        before = self._meanings.get(asset, {})
        now = self._meanings[asset] = {name: _meaning(item) for name, item in definition.items.items()}
        for name, item in definition.items.items():
            known = name
            if item.was is not None and (asset, name) not in self.values and item.was not in now:
                self._rename((asset, item.was), (asset, name))
                known = item.was
            if before.get(known, now[name]) != now[name]:
                self.stale.add((asset, name))

    def _model(self, asset: str, model: str, value: Value) -> None:
        if self._models.get(asset) != model:
            self._models[asset] = model
            try:
                self.define(asset, Definition.from_value(value))
            except ContractError:
                return  # the last one stays in force

    def _rename(self, old: Key, new: Key) -> None:
        if (value := self.values.pop(old, None)) is not None:
            self.values[new] = value
        if old in self.stale:
            self.stale.remove(old)
            self.stale.add(new)

    def _forget(self, asset: str) -> None:
        for key in [key for key in self.values if key[0] == asset]:
            del self.values[key]
            self.stale.discard(key)
        self._models.pop(asset, None)
        self._meanings.pop(asset, None)


def _meaning(item: Item) -> Any:
    """What decides how a value is to be read."""
    return item.category, item.unit, item.scale, item.offset, item.states, item.enum
