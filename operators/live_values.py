"""What goes live: each observation and derived event as the newest value of its own subject.

The place of an asset (its path) and its units come from the definitions on the stream. A derived event waits until the
asset's own records have been read up to its basis; so live and rebuilt agree whichever of the two streams is ahead.
When an asset moves, its values go on under the new path, and those of a renamed item under its new name; the subjects
of an item or metric that a definition no longer has disappear, and those of a removed asset but for its last word.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import bytewax.operators as op
import msgspec
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from assets.batch import Batch, DerivedBatch, LiveValue
from assets.fields import Value
from assets.frame import DerivedEvent, Frame, Tick, event_time
from assets.status import BAD_NOT_SUPPORTED
from assets.stream import GONE, MODEL, REMOVED, observation_subject, state_subject
from operators._places import Left, Place, Places
from operators._snapshot import opened, packed, unpacked
from operators._waiting import ends, keep, newest_of

SNAPSHOT_VERSION: Final = 5
MOST_HELD: Final = 5_000
"""Derived events that may wait; beyond it only the newest of each metric is kept, which is what stays published."""
_INDEX_BITS: Final = 20

Origin = tuple[int, int, int]


class ObservationPayload(msgspec.Struct, gc=False):
    """The message of an observation; `time` is its event time, `origin` its place in the stream. Times in us."""

    asset: str
    item: str
    value: Value
    unit: str | None
    status: int
    time: int
    received: int
    origin: Origin
    source: str
    flags: int


class StatePayload(msgspec.Struct, gc=False):
    """The message of a derived event; `origin` orders the messages of a subject, `basis` is what caused the change."""

    asset: str
    metric: str
    value: Value
    previous: Value
    status: int
    time: int
    since: int | None
    until: int | None
    duration: int | None
    id: str
    origin: Origin
    basis: Origin


class _Saved(msgspec.Struct):
    version: int
    next: int
    next_derived: int
    models: msgspec.Raw
    held: msgspec.Raw
    waiting: msgspec.Raw
    unplaced: int


class LiveValues:
    """One partition: turns batches of both streams into live values. Plain Python, no engine.

    `unplaced` counts observations that had no definition yet: they cannot be given a subject, and the next key frame
    repeats them. Of the derived events of such an asset the newest of each metric wait for its definition.
    """

    def __init__(self) -> None:
        self.unplaced = 0
        self._encode = msgspec.json.Encoder().encode
        self._begin()

    def _begin(self) -> None:
        """Know nothing, as at the beginning of the stream."""
        self._next = self._next_derived = self._kept = 0
        self._places = Places()
        self._held: deque[DerivedEvent] = deque()
        self._waiting: dict[str, dict[str, DerivedEvent]] = {}

    def batch(self, batch: Batch) -> list[LiveValue]:
        """The live values of a batch of records, and of the derived events that waited for it."""
        if batch.first < self._next:  # the store was lost, so the stream is read again
            self._begin()
        out: list[LiveValue] = []
        for offset, record in zip(batch.offsets, batch.records, strict=True):
            if type(record) is Frame:
                self._frame(batch.partition, offset, record, out)
            elif type(record) is Tick:
                self._places.progress.advance(record)
        self._next = max(self._next, batch.next)
        self._release(out)
        return out

    def derived(self, batch: DerivedBatch) -> list[LiveValue]:
        """The live values of derived events; those whose basis was not read yet wait."""
        if batch.first < self._next_derived:
            self._begin()
        self._next_derived = batch.next
        out: list[LiveValue] = []
        self._held.extend(batch.events)
        self._release(out)
        if len(self._held) > max(MOST_HELD, 2 * self._kept):  # where more metrics wait it is not done again and again
            self._held = deque(newest_of(self._held))
            self._kept = len(self._held)
        return out

    def _frame(self, partition: int, offset: int, frame: Frame, out: list[LiveValue]) -> None:
        asset, received, source, encode = frame.asset, frame.received, frame.source, self._encode
        place, prefix = self._place(frame.model, asset)
        for index, o in enumerate(frame.observations):
            if o.item == MODEL:
                self._leave(asset, self._places.define((offset, index), frame, o), (partition, offset, index), out)
                place, prefix = self._place(frame.model, asset)
                for event in self._waiting.pop(asset, {}).values():
                    if not ends(event):  # who has a definition is there; what has ended was an earlier life
                        self._event(event, out)
            elif o.item == REMOVED:
                self._leave(asset, self._places.remove(offset, frame), (partition, offset, index), out)
                return  # the last that is said of an asset
            if place is None:
                self.unplaced += 1
                continue
            if o.item == MODEL and not self._places.in_force(frame):
                continue  # it was refused
            origin = (partition, offset, index)
            time, unit = event_time(o, received), place.items.get(o.item)
            told = ObservationPayload(asset, o.item, o.value, unit, o.status, time, received, origin, source, o.flags)
            out.append(LiveValue(prefix + o.item, encode(told), partition, offset, index))

    def _place(self, model: str, asset: str) -> tuple[Place | None, str]:
        """What a frame can tell, and the subject of its asset up to the item."""
        place, path = self._places.of(model, asset)
        return place, observation_subject(path, asset, "")

    def _leave(self, asset: str, left: Left | None, origin: Origin, out: list[LiveValue]) -> None:
        """End what a changed definition ends: subjects of items and metrics, and all at a path that was left."""
        if left is None:
            return
        prefix = observation_subject(left.before, asset, "")
        for item, now in left.items.items():
            out.append(LiveValue(prefix + item, b"", *origin, now and prefix + now))
        out += [LiveValue(state_subject(left.before, asset, metric), b"", *origin) for metric in left.metrics]
        for subject in (observation_subject, state_subject) if left.before != left.now else ():
            moved_to = None if left.now is None else subject(left.now, asset, "")
            out.append(LiveValue(subject(left.before, asset, ""), b"", *origin, moved_to))

    def _release(self, out: list[LiveValue]) -> None:
        held, end = self._held, self._next
        while held and held[0].basis[1] < end:
            self._event(held.popleft(), out)

    def _event(self, event: DerivedEvent, out: list[LiveValue]) -> None:
        partition, offset, basis_index = event.basis
        stand = self._places.stand(event.asset)
        if stand is None:
            keep(self._waiting.setdefault(event.asset, {}), event)
            return
        if offset < stand.since or (stand.gone and event.value != GONE):
            return  # it ended with the asset
        if ends(event) and not stand.gone:  # an earlier life, of whose end we have read nothing but this
            self._places.begins_after(event.asset, offset)
            out.append(LiveValue(state_subject(stand.path, event.asset, ""), b"", *event.basis))
            return
        if self._places.has_ended(stand, event.metric, (offset, basis_index)):
            return  # it ended with its rule
        index = order(basis_index, event.id)
        subject = state_subject(stand.path, event.asset, event.metric)
        if event.value is None and event.status == BAD_NOT_SUPPORTED:
            out.append(LiveValue(subject, b"", partition, offset, index))  # the last that is said of a metric
            return
        payload = StatePayload(
            event.asset,
            event.metric,
            event.value,
            event.previous,
            event.status,
            event.time,
            event.since,
            event.until,
            event.duration,
            event.id,
            (partition, offset, index),
            event.basis,
        )
        out.append(LiveValue(subject, self._encode(payload), partition, offset, index))

    def save(self) -> bytes:
        """The state as versioned msgpack."""
        places, held, waiting = self._places.save(), packed(list(self._held)), packed(self._waiting)
        saved = _Saved(SNAPSHOT_VERSION, self._next, self._next_derived, places, held, waiting, self.unplaced)
        return msgspec.msgpack.encode(saved)

    def load(self, snapshot: bytes) -> None:
        """Take over a saved state; raises `SnapshotError`."""
        with opened(snapshot, _Saved, SNAPSHOT_VERSION, "live_values") as saved:
            self._places.load(saved.models)
            self._held = deque(unpacked(saved.held, list[DerivedEvent]))
            self._waiting = unpacked(saved.waiting, dict[str, dict[str, DerivedEvent]])
        self._next, self._next_derived, self.unplaced = saved.next, saved.next_derived, saved.unplaced


def order(basis_index: int, event_id: str) -> int:
    """Where an event stands among those of one record: by observation, then by its number in the event's id.

    >>> order(0, "3:17:0:running:1") < order(1, "3:17:1:running:0")
    True
    """
    number = event_id.rpartition(":")[2]
    return (basis_index << _INDEX_BITS) + (int(number) if number.isdigit() else 0)


class _Step(StatefulBatchLogic[Batch | DerivedBatch, list[LiveValue], bytes]):
    """The engine's side: one partition; key of the stream = partition."""

    def __init__(self, snapshot: bytes | None) -> None:
        self._values = LiveValues()
        if snapshot is not None:
            self._values.load(snapshot)

    def on_batch(self, values: list[Batch | DerivedBatch]) -> tuple[Iterable[list[LiveValue]], bool]:
        made = [self._values.batch(v) if isinstance(v, Batch) else self._values.derived(v) for v in values]
        return [live for live in made if live], StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        return self._values.save()


@operator
def live_values(
    step_id: str, observations: KeyedStream[Batch], derived: KeyedStream[DerivedBatch]
) -> KeyedStream[list[LiveValue]]:
    """Turn both streams, keyed by partition, into live values."""
    both: KeyedStream[Batch | DerivedBatch] = op.merge("both", observations, derived)
    return op.stateful_batch("values", both, _Step)
