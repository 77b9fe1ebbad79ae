"""All assets of one partition: their logic objects fed in order and by event time. Plain Python, no engine."""

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

import msgspec

from assets.batch import Batch, Rejected
from assets.fields import Value
from assets.frame import CLOCK_SKEW, NO_SAMPLE, VERSION, DerivedEvent, Flag, Frame, Observation, Tick
from assets.stream import AVAILABILITY, AVAILABLE, GAP, MODEL, REMOVED
from operators._definitions import Definitions, Taken
from operators._links import LinkChange, Links
from operators._snapshot import opened, packed, unpacked
from operators._timers import Timers
from operators.asset_logic import AssetLogic, Changes

SNAPSHOT_VERSION: Final = 3
KEYFRAME: Final = int(Flag.KEYFRAME)
FACTS: Final = frozenset({AVAILABILITY, GAP, MODEL, REMOVED})
"""Items about the asset itself that are handled here; logic does not see them."""

L = TypeVar("L", bound=AssetLogic)
Origin = tuple[int, int, int]


class Assets(Generic[L]):
    """All assets of one partition: logic objects, definitions, links and timers. Plain Python, no engine."""

    def __init__(self, partition: int, operator: str, logic: type[L]) -> None:
        self._partition = partition
        self._operator = operator
        self._logic = logic
        self._cells: dict[str, L] = {}
        self._links = Links()
        self._definitions = Definitions()
        self._links.used = lambda: self._definitions.sources
        self._rejected: list[Rejected] = []
        self._timers = Timers()
        self._origin: Origin = (partition, -1, 0)
        self._numbers: dict[str, int] = {}

    def batch(self, batch: Batch) -> list[DerivedEvent]:
        """Handle the records of a batch; returns what they change."""
        out: list[DerivedEvent] = []
        for offset, record in zip(batch.offsets, batch.records, strict=True):
            if isinstance(record, Frame):
                self._frame(offset, record, out)
            else:
                self._tick(offset, record, out)
        return out

    def rejected(self) -> list[Rejected]:
        """Definitions that were refused since this was asked last."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def _frame(self, offset: int, frame: Frame, out: list[DerivedEvent]) -> None:
        """Handle the observations of a frame; the hot loop: an item nobody wants costs two look-ups."""
        asset, observations = frame.asset, frame.observations
        logic = self._cells.get(asset)
        if logic is None:
            logic = self._cells[asset] = self._logic(asset=asset)
        wanted, due = logic.wanted, logic.due
        for o in observations:
            item = o.item
            hot = item in wanted if wanted is not None else item not in FACTS
            if not hot and due is None and item not in FACTS:
                continue
            time, flags = o.source_time, o.flags
            if time is None or (flags and flags & CLOCK_SKEW):
                time = frame.received
            o.time = time
            if time > logic.now and not (flags and flags & NO_SAMPLE):
                if due is not None and due <= time:
                    self._fire(asset, logic, time, self._at(offset, observations, o), out)
                logic.now = time
            if hot and (changes := logic.on_observation(o)):
                self._emit(asset, logic, changes, time, self._at(offset, observations, o), out)
            elif not hot and item in FACTS:
                self._fact(self._at(offset, observations, o), frame, logic, o, out)
                if item == REMOVED and asset not in self._cells:
                    return  # the last that is said of an asset; a later frame begins it anew
                wanted = logic.wanted
            due = logic.due
        if due is not None:
            self._timers.set(asset, due)

    def _at(self, offset: int, observations: list[Observation], o: Observation) -> Origin:
        """The origin of an observation; looked up when needed, which is seldom."""
        return self._partition, offset, next(i for i, each in enumerate(observations) if each is o)

    def _fact(self, origin: Origin, frame: Frame, logic: L, o: Observation, out: list[DerivedEvent]) -> None:
        """Handle what the stream says about the asset itself."""
        if o.item == AVAILABILITY:
            known = frame.asset in self._links.source(frame.source).assets
            if not (known and o.flags & KEYFRAME):  # a repetition by the gateway proves nothing about the device
                changes = self._links.said(frame.asset, frame.source, o.value == AVAILABLE, o.time)
                self._links_changed(changes, origin, out)
        elif o.item == MODEL:
            self._define(origin, frame, logic, o, out)
        elif o.item == REMOVED:
            if self._definitions.may_remove(frame):
                self._remove(origin, frame.asset, logic, o.time, out)
        elif (gap := _gap(o.value)) is not None:
            self._emit(frame.asset, logic, logic.on_gap(*gap), gap[1], origin, out)

    def _define(self, origin: Origin, frame: Frame, logic: L, o: Observation, out: list[DerivedEvent]) -> None:
        """Take over a definition, unless it is refused or known."""
        taken = self._definitions.take(origin[:2], frame, o.value, self._links)
        if isinstance(taken, Rejected):
            self._rejected.append(taken)
        if not isinstance(taken, Taken):
            return
        for name, ttl in taken.ttls.items():
            link = self._links.source(name)
            link.ttl = ttl or link.ttl
        self._links.leave(frame.asset, taken.left)
        if logic.due is not None and logic.due <= o.time:
            self._fire(frame.asset, logic, o.time, origin, out)
        logic.now = max(logic.now, o.time)
        self._emit(frame.asset, logic, logic.on_definition(taken.definition), logic.now, origin, out)

    def _remove(self, origin: Origin, asset: str, logic: L, at: int, out: list[DerivedEvent]) -> None:
        """End an asset, and forget all of it: state must not grow with every asset there ever was."""
        if logic.due is not None and logic.due <= at:
            self._fire(asset, logic, at, origin, out)
        logic.now = max(logic.now, at)
        self._emit(asset, logic, logic.on_removed(logic.now), logic.now, origin, out)
        del self._cells[asset]
        self._links.forget(asset)
        self._definitions.remove(asset)

    def _tick(self, offset: int, tick: Tick, out: list[DerivedEvent]) -> None:
        origin = (self._partition, offset, 0)
        self._links_changed(self._links.tick(tick), origin, out)
        marks = [account.mark for account in tick.sources.values() if account.mark is not None]
        if marks:
            self._fire_due(max(marks), origin, out)

    def _links_changed(self, changes: Iterable[LinkChange], origin: Origin, out: list[DerivedEvent]) -> None:
        for change in changes:
            logic = self._cells[change.asset]
            if logic.due is not None and logic.due <= change.at:
                self._fire(change.asset, logic, change.at, origin, out)
            made = logic.on_link(change.source, change.available, change.at)
            self._emit(change.asset, logic, made, change.at, origin, out)
            if logic.due is not None:
                self._timers.set(change.asset, logic.due)

    def _fire_due(self, horizon: int, origin: Origin, out: list[DerivedEvent]) -> None:
        """Fire what is due, in the order of (deadline, asset); an asset's time is that of its own proved sources."""
        later = []
        for due, asset in self._timers.pop(horizon):
            logic = self._cells.get(asset)
            if logic is None or logic.due != due:
                continue  # withdrawn since
            if due > self._proved_time(asset):
                later.append((due, asset))
                continue
            self._fire(asset, logic, due, origin, out)
            if logic.due is not None:
                self._timers.set(asset, logic.due)
        for due, asset in later:
            self._timers.set(asset, due)

    def _proved_time(self, asset: str) -> int:
        """The newest mark of the asset's sources."""
        links, placement = self._links.sources, self._definitions.placements.get(asset)
        names = links if placement is None else placement.sources
        return max((links[name].mark for name in names if name in links and asset in links[name].assets), default=0)

    def _fire(self, asset: str, logic: L, until: int, origin: Origin, out: list[DerivedEvent]) -> None:
        while (due := logic.due) is not None and due <= until:
            logic.due = None
            logic.now = max(logic.now, due)
            self._emit(asset, logic, logic.on_time(due), due, origin, out)

    def _emit(self, asset: str, logic: L, changes: Changes, now: int, origin: Origin, out: list[DerivedEvent]) -> None:
        if not changes:
            return
        for change in changes:
            time = now if change.time is None else change.time
            since = change.since
            out.append(
                DerivedEvent(
                    VERSION,
                    asset,
                    change.metric,
                    time,
                    change.value,
                    change.previous,
                    since,
                    None if since is None else time,
                    None if since is None else time - since,
                    change.status,
                    self._id(origin, change.metric),
                    origin,
                    change.operator or self._operator,
                    change.operator_version or logic.version,
                )
            )

    def _id(self, origin: Origin, metric: str) -> str:
        if origin != self._origin:
            self._origin, self._numbers = origin, {}
        number = self._numbers[metric] = self._numbers.get(metric, -1) + 1
        return f"{origin[0]}:{origin[1]}:{origin[2]}:{metric}:{number}"

    def save(self) -> bytes:
        """The state as versioned msgpack."""
        saved = _Saved(SNAPSHOT_VERSION, self._links, packed(self._definitions), packed(self._cells))
        return msgspec.msgpack.encode(saved)

    def load(self, snapshot: bytes) -> None:
        """Take over a saved state; raises `SnapshotError`."""
        with opened(snapshot, _Saved, SNAPSHOT_VERSION, self._operator) as head:
            self._cells = unpacked(head.cells, dict[str, self._logic])  # type: ignore[name-defined]
            self._definitions = unpacked(head.definitions, Definitions)
        head.links.used, self._links = self._links.used, head.links
        definitions = self._definitions.by_asset({name: link.ttl for name, link in self._links.sources.items()})
        for asset, logic in self._cells.items():
            if asset in definitions:
                logic.bind(definitions[asset])
            if logic.due is not None:
                self._timers.set(asset, logic.due)


def _gap(value: Value) -> tuple[list[str], int, int] | None:
    """Items, start and end of a gap; None for one that cannot be read: it stays on the stream as it is."""
    match value:
        case {"items": list(items), "from": int(start), "to": int(end)} if start <= end:
            return items, start, end
    return None


class _Saved(msgspec.Struct):
    version: int
    links: Links
    definitions: msgspec.Raw
    cells: msgspec.Raw
