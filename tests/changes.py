"""A plant whose definitions change in the middle of the stream, and what every view makes of it; plain Python."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from assets.batch import Batch, DerivedBatch, LiveValue, Rejected
from assets.definition import Definition, Item
from assets.fields import Value
from assets.frame import DerivedEvent, Flag, Frame, Observation, Tick, encode_event
from assets.newest import Newest
from operators._assets import Assets
from operators.live_values import LiveValues
from operators.rules import Rules
from tests.streams import S, batch, definition, tick

PATH = "acme/hamburg/forming/line-1"
KEYFRAME = int(Flag.KEYFRAME)
BASE = definition(
    overheat={"rule": "alarm", "item": "temperature", "above": 90.0, "clear_below": 80.0},
    running={"rule": "durations", "item": "state"},
    availability={"rule": "availability"},
)

Records = list[Frame | Tick]


def changed(model: Definition = BASE, **fields: Any) -> Definition:
    """A definition with other fields; `items` and `derive` are added to what is there, None takes one away."""
    for field in ("items", "derive"):
        if field in fields:
            merged = {**getattr(model, field), **fields[field]}
            fields[field] = {name: value for name, value in merged.items() if value is not None}
    return msgspec.structs.replace(model, **fields)


def item(name: str, model: Definition = BASE, **fields: Any) -> Item:
    """An item of a definition with other options."""
    return msgspec.structs.replace(model.items[name], **fields)


class Writer:
    """A gateway: writes frames of one asset after the other under the definition that it was last told."""

    def __init__(self, gateway: str = "gw-1", run: int = 1) -> None:
        self.gateway, self.run = gateway, run
        self.models: dict[str, str] = {}

    def frame(self, at: float, asset: str, *observations: Observation, source: str = "s") -> Frame:
        """What is said of an asset at a second."""
        model = self.models.get(asset, "")
        return Frame(1, asset, source, self.gateway, self.run, 1, int(at * S), model, list(observations))

    def define(
        self, at: float, model: Definition = BASE, asset: str = "press-01", *, again: bool = False, link: bool = True
    ) -> Frame:
        """The definition of an asset; `again`: in a key frame."""
        self.models[asset] = model.model
        flags = KEYFRAME if again else 0
        said = [Observation("_model", model.value(), 0, None, flags)]
        if link:
            said.append(Observation("_availability", "AVAILABLE", 0, None, flags))
        return self.frame(at, asset, *said, source=model.source or "s")

    def tell(self, at: float, asset: str = "press-01", /, **values: Value) -> Frame:
        """Values of items."""
        return self.frame(at, asset, *(Observation(name, value) for name, value in values.items()))

    def remove(self, at: float, asset: str = "press-01") -> Frame:
        """The end of an asset."""
        return self.frame(at, asset, Observation("_removed", True), source="")


class Views(NamedTuple):
    """What derive, its dead letters and serve make of a stream."""

    events: list[bytes]
    letters: list[Rejected]
    live: dict[str, bytes]

    def said(self, metric: str, asset: str = "press-01") -> list[tuple[Value, float]]:
        """The values of a metric with their seconds."""
        told = (msgspec.json.decode(event, type=DerivedEvent) for event in self.events)
        return [(event.value, event.time / S) for event in told if (event.asset, event.metric) == (asset, metric)]

    def values(self) -> dict[str, Value]:
        """The live values by the end of their subject, without the definitions."""
        values = {subject: msgspec.json.decode(payload)["value"] for subject, payload in self.live.items()}
        return {subject: value for subject, value in values.items() if not subject.endswith("._model")}

    def units(self) -> dict[str, str | None]:
        """The units of the live values."""
        told = {subject: msgspec.json.decode(payload) for subject, payload in self.live.items()}
        return {subject: payload["unit"] for subject, payload in told.items() if payload.get("unit")}


def whole(records: Sequence[Frame | Tick]) -> Views:
    """In one piece, derived state right behind the stream."""
    return cut(records, ())


def cut(records: Sequence[Frame | Tick], cuts: Iterable[int], lag: int = 0) -> Views:
    """In batches that end at `cuts`, each followed by a restart; serve gets derived state `lag` batches late."""
    rules, live, fold = Assets(0, "rules", Rules), LiveValues(), Newest()
    events: list[DerivedEvent] = []
    letters: list[Rejected] = []
    late: list[DerivedBatch] = []
    first = written = 0
    for end in sorted({*cuts, len(records)}):
        told = batch(records[first:end], first)
        made = rules.batch(told)
        letters += rules.rejected()
        late.append(DerivedBatch(0, written, written + len(made), list(range(written, written + len(made))), made))
        events, written, first = events + made, written + len(made), end
        fold.take(live.batch(told))
        while len(late) > lag:
            fold.take(live.derived(late.pop(0)))
        rules, live = restarted(rules), reloaded(live)
    for rest in late:
        fold.take(live.derived(rest))
    stored = {subject: value.payload for subject, value in fold.values.items()}
    return Views([encode_event(event) for event in events], letters, stored)


def restarted(rules: Assets[Rules]) -> Assets[Rules]:
    """The same state in another process."""
    after = Assets(0, "rules", Rules)
    after.load(rules.save())
    return after


def reloaded(live: LiveValues) -> LiveValues:
    """The same state in another process."""
    after = LiveValues()
    after.load(live.save())
    return after


def subject(name: str, asset: str = "press-01", path: str = PATH, kind: str = "assets") -> str:
    """The subject of an item, or of a metric with kind "state"."""
    return f"{kind}.{path.replace('/', '.')}.{asset}.{name}"


__all__ = ["BASE", "Batch", "LiveValue", "Records", "Views", "Writer", "changed", "cut", "item", "tick", "whole"]
