"""The stream against NATS: the newest message of every subject must be the newest that the stream says."""

from collections.abc import Iterator, Mapping

from assets.batch import Batch, DerivedBatch
from assets.newest import Newest
from operators.live_values import LiveValues
from replay._accounts import Deviation
from replay._compare import Origin
from replay._generations import Offsets
from replay._verify_serve import STATE, origin


class ServeCheck:
    """Per subject the newest origin on the stream, up to where `serve` has finished."""

    def __init__(self, observed: Offsets, derived: Offsets) -> None:
        self._observed, self._derived = observed, derived
        self._values: dict[int, LiveValues] = {}
        self._folds: dict[int, Newest] = {}
        self.newer = 0

    @property
    def subjects(self) -> int:
        """How many subjects the stream speaks of."""
        return len(self._newest())

    def take(self, batch: Batch) -> None:
        """Observations; the whole of a partition comes before its derived events."""
        bound = self._observed.get(batch.partition, 0)
        kept = sum(offset < bound for offset in batch.offsets)
        if kept:
            part = Batch(batch.partition, batch.first, batch.next, batch.offsets[:kept], batch.records[:kept])
            self._fold(batch.partition, part)

    def take_derived(self, batch: DerivedBatch) -> None:
        """Derived events."""
        bound = self._derived.get(batch.partition, 0)
        events = [event for event in batch.events if event.basis[1] < bound]
        self._fold(batch.partition, DerivedBatch(batch.partition, batch.first, batch.next, batch.offsets, events))

    def _fold(self, partition: int, batch: Batch | DerivedBatch) -> None:
        values = self._values.setdefault(partition, LiveValues())
        live = values.batch(batch) if isinstance(batch, Batch) else values.derived(batch)
        self._folds.setdefault(partition, Newest()).take(live)

    def _newest(self) -> dict[str, Origin]:
        values = (value for fold in self._folds.values() for value in fold.values.values())
        return {value.subject: (value.partition, value.offset, value.index) for value in values}

    def compare(self, stored: Mapping[str, bytes]) -> Iterator[Deviation]:
        """The subjects whose stored message is not the newest; what is newer than the bounds was not looked at."""
        newest = self._newest()
        for subject in sorted(stored.keys() | newest.keys()):
            expected = newest.get(subject)
            payload = stored.get(subject)
            found = None if payload is None else origin(payload)
            if found is not None and found[1] >= self._bound(subject, found[0]):
                self.newer += 1
            elif found != expected:
                place = expected or found or (0, 0, 0)
                yield Deviation(
                    kind="serve",
                    count=1,
                    detail=f"NATS has {_named(found)}, the stream has {_named(expected)}",
                    partition=place[0],
                    offset=place[1],
                    subject=subject,
                )

    def _bound(self, subject: str, partition: int) -> int:
        return (self._derived if subject.startswith(STATE) else self._observed).get(partition, 0)


def _named(place: Origin | None) -> str:
    return "nothing" if place is None else f"index {place[2]} of offset {place[1]} in partition {place[0]}"
