"""Records of Kafka sorted into micro-batches per partition, cut at the end of a range; they wait here to be taken."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import cast

from confluent_kafka import Message

from assets.batch import RawBatch

# None only where a message stands for an error
partition_of = cast("Callable[[Message], int]", Message.partition)
offset_of = cast("Callable[[Message], int]", Message.offset)


class Batches:
    """The batches of one topic that wait, per partition, and how far each partition was read.

    `finished` is told of a partition whose last record is here.
    """

    def __init__(self, topic: str, finished: Callable[[int], None]) -> None:
        self.waiting = 0
        self._topic = topic
        self._finished = finished
        self._queues: dict[int, deque[RawBatch]] = {}
        self._next: dict[int, int] = {}
        self._ends: dict[int, int | None] = {}

    def open(self, partition: int, start: int, end: int | None) -> bool:
        """Make a place for a partition; whether there is anything to be read."""
        self._queues[partition] = deque()
        if end is not None and start >= end:
            self._put(RawBatch(self._topic, partition, start, start, [], [], [], end=True))
            return False
        self._next[partition] = start
        self._ends[partition] = end
        return True

    @property
    def positions(self) -> dict[int, int]:
        """Per partition that has not ended the offset after all that is here."""
        return dict(self._next)

    def leave(self, partition: int) -> bool:
        """A partition needs no more; whether it was the last one."""
        self._queues.pop(partition, None)
        return not self._queues

    def ready(self, partition: int) -> bool:
        """Whether a batch of a partition waits."""
        return bool(self._queues[partition])

    def take(self, partition: int) -> RawBatch | None:
        """The next batch of a partition, if there is one."""
        queue = self._queues[partition]
        if not queue:
            return None
        batch = queue.popleft()
        self.waiting -= len(batch.offsets)
        return batch

    def sort_in(self, messages: list[Message]) -> None:
        """Records as they have arrived, of several partitions."""
        for partition, records in _grouped(messages).items():
            if partition in self._next:  # else: read on beyond an end that was met
                self._sort_in(partition, records)

    def reached(self, partition: int, offset: int) -> None:
        """Kafka has no record before `offset` that was not sorted in."""
        end = self._ends.get(partition)
        if end is not None and offset >= end:  # the last offsets before the end hold no record
            self._finish(partition, [])

    def _sort_in(self, partition: int, messages: list[Message]) -> None:
        end = self._ends[partition]
        last = offset_of(messages[-1])
        if end is not None and last + 1 >= end:
            self._finish(partition, messages)
        else:
            self._put(_batch(self._topic, partition, self._next[partition], last + 1, messages))
            self._next[partition] = last + 1

    def _finish(self, partition: int, messages: list[Message]) -> None:
        end = self._ends.pop(partition)
        assert end is not None
        kept = messages[: bisect_left(messages, end, key=offset_of)]
        self._put(_batch(self._topic, partition, self._next.pop(partition), end, kept, end=True))
        self._finished(partition)

    def _put(self, batch: RawBatch) -> None:
        self.waiting += len(batch.offsets)
        self._queues[batch.partition].append(batch)


def _grouped(messages: list[Message]) -> dict[int, list[Message]]:
    partitions = list(map(partition_of, messages))
    if not messages or partitions.count(partitions[0]) == len(partitions):
        return {partitions[0]: messages} if messages else {}
    groups: dict[int, list[Message]] = {p: [] for p in set(partitions)}
    for partition, message in zip(partitions, messages, strict=True):
        groups[partition].append(message)
    return groups


def _batch(
    topic: str, partition: int, first: int, following: int, messages: list[Message], *, end: bool = False
) -> RawBatch:
    return RawBatch(
        topic,
        partition,
        first,
        following,
        list(map(offset_of, messages)),
        list(map(Message.key, messages)),
        list(map(Message.value, messages)),
        end,
    )
