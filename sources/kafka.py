"""The stream as a source: every partition read from an exact offset, to an exact end or for ever.

Guarantee: effectively once. The position is kept with the state of the flow, never in Kafka; what was offered to a
flow whose epoch did not end is offered again. An offset that cannot be read any more is refused, never skipped.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Final, TypeVar

from bytewax.inputs import FixedPartitionedSource

from assets.batch import RawBatch, stream_key
from assets.condition import Refused, Unavailable
from assets.connection import KafkaConnection
from assets.stream import own_partitions
from sources._kafka import BATCH_RECORDS, Feed
from sources._kafka_cluster import Cluster, cluster
from sources._kafka_settings import topic_settings
from sources._partition import Partition, Stop

__all__ = [
    "Bounds",
    "Cluster",
    "StreamSource",
    "check_topic",
    "cluster",
    "committed",
    "offsets_at",
    "partition_count",
    "read_range",
    "read_table",
    "watermarks",
]

IDLE_MS: Final = 5
FETCH_S: Final = 0.1
SILENCE_TIMEOUT_S: Final = 30.0
"""How long a command waits for records that must exist."""

STREAM_POLICY: Final[Mapping[str, tuple[str, str]]] = {
    "cleanup.policy": ("delete", "compaction removes records"),
    "retention.ms": ("-1", "records are removed by age"),
    "retention.bytes": ("-1", "records are removed by size"),
    "message.timestamp.type": ("LogAppendTime", "an instant of the stream would be a gateway's clock"),
}

Bounds = Mapping[int, tuple[int, int | None]]
T = TypeVar("T")


class StreamSource(FixedPartitionedSource[tuple[str, RawBatch], int]):
    """Records of a topic in micro-batches keyed by partition; the state of a partition is the next offset.

    `copy` i/N reads the partitions p with p % N == i. `bounds` names the partitions to read, each from an offset to
    an offset (exclusive; None: for ever). Without either, reading begins at the oldest record. `group` is where the
    offsets of finished snapshots are noted for lag tools and as the progress of a view.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        stop: Stop,
        *,
        copy: str = "0/1",
        bounds: Bounds | None = None,
        group: str | None = None,
        batch_records: int = BATCH_RECORDS,
    ) -> None:
        self._stop = stop
        self._copy = copy
        self._bounds = bounds
        self._open: Callable[[], Feed] = lambda: Feed(
            connection, topic, group, batch_records, bounded=bounds is not None
        )
        self._feeds: dict[int, Feed] = {}

    def list_parts(self) -> list[str]:
        """The partitions to read."""
        feed = self._open()
        try:
            count = feed.wait_for(feed.partition_count, self._stop)
        finally:
            feed.close()
        own = own_partitions(count, self._copy)
        return [stream_key(p) for p in own if self._bounds is None or p in self._bounds]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_StreamPartition":
        """Begin at the state, else at the bounds, else at the oldest record."""
        partition = int(for_part)
        worker = threading.get_ident()  # one consumer per worker: each has four threads of its own
        feed = self._feeds.get(worker)
        if feed is None or feed.closed:
            feed = self._feeds[worker] = self._open()
        low, high = feed.wait_for(lambda: feed.watermarks(partition), self._stop)
        first, end = (self._bounds or {}).get(partition, (low, None))
        start = first if resume_state is None else resume_state
        feed.check_start(partition, start, low, high)
        feed.open(partition, start, end)
        return _StreamPartition(feed, partition, start, self._stop)


class _StreamPartition(Partition[tuple[str, RawBatch], int]):
    """One partition of the topic inside the engine."""

    def __init__(self, feed: "Feed", partition: int, start: int, stop: Stop) -> None:
        super().__init__(stop, IDLE_MS)
        self._feed = feed
        self._partition = partition
        self._key = stream_key(partition)
        self._position = start
        self._snapshot: int | None = None
        self._ended = False

    def next_batch(self) -> list[tuple[str, RawBatch]]:
        self.settle()  # being asked again means that the epoch of the snapshot is closed
        return super().next_batch()

    def note_start(self) -> None:
        """Take back what an earlier run has noted as the group's progress."""
        self._feed.note(self._partition, self._position)

    def settle(self) -> None:
        if self._snapshot is not None:
            self._feed.note(self._partition, self._snapshot)
            self._snapshot = None

    def read(self) -> list[tuple[str, RawBatch]]:
        if self._ended:
            raise StopIteration
        batch = self._feed.take(self._partition)
        if batch is None:
            return []
        self._position = batch.next
        self._ended = batch.end
        return [(self._key, batch)]

    def position(self) -> int:
        return self._position

    def snapshot(self) -> int:
        self._snapshot = super().snapshot()
        return self._snapshot

    def close(self) -> None:
        self._feed.leave(self._partition)
        super().close()


def partition_count(connection: KafkaConnection, topic: str) -> int:
    """How many partitions a topic has."""
    return _ask(connection, topic, lambda feed: feed.partition_count())


def watermarks(connection: KafkaConnection, topic: str) -> dict[int, tuple[int, int]]:
    """Per partition the offsets of the oldest record and of the next one to be written."""
    return _ask(connection, topic, lambda feed: {p: feed.watermarks(p) for p in range(feed.partition_count())})


def offsets_at(connection: KafkaConnection, topic: str, time_us: int) -> dict[int, int]:
    """Per partition the first offset that Kafka took in at or after an instant (LogAppendTime has milliseconds)."""
    return _ask(connection, topic, lambda feed: feed.offsets_at(-(-time_us // 1_000)))


def committed(connection: KafkaConnection, group: str, topic: str) -> dict[int, int]:
    """Per partition how far a group (a view) has come; partitions it has not noted yet are missing."""
    return _ask(connection, topic, lambda feed: feed.committed(), group)


def read_table(connection: KafkaConnection, topic: str) -> dict[bytes, bytes]:
    """The newest value of every key of a compacted topic."""
    table: dict[bytes, bytes] = {}
    for batch in read_range(connection, topic, watermarks(connection, topic)):
        for key, value in zip(batch.keys, batch.values, strict=True):
            if key is None:
                continue
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
    return table


def read_range(
    connection: KafkaConnection, topic: str, bounds: Mapping[int, tuple[int, int]], stop: Stop | None = None
) -> Iterator[RawBatch]:
    """The records of the named partitions, each from an offset to an offset (exclusive); partitions interleave.

    With `stop` it ends with `Unavailable` as soon as a stop is asked for.
    """
    feed = Feed(connection, topic, bounded=True)
    try:
        for partition, (start, end) in bounds.items():
            feed.check_start(partition, start, *feed.wait_for(lambda p=partition: feed.watermarks(p)))  # type: ignore[misc]
            feed.open(partition, start, end)
        yield from _drain(feed, set(bounds), stop)
    finally:
        feed.close()


def check_topic(connection: KafkaConnection, topic: str) -> None:
    """Refuse a stream whose settings would lose records or tell their time by other clocks than Kafka's."""
    settings = topic_settings(connection, topic)
    found = [(name, settings[name], wanted, why) for name, (wanted, why) in STREAM_POLICY.items()]
    problems = [f"{name} is {now}: {why}" for name, now, wanted, why in found if now != wanted]
    if problems:
        changes = ",".join(f"{name}={wanted}" for name, now, wanted, _ in found if now != wanted)
        raise Refused(
            f'could not use topic "{topic}" at kafka at {connection.bootstrap} as the stream: {"; ".join(problems)}; '
            f"set it: kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {changes}"
        )


def _drain(feed: Feed, partitions: set[int], stop: Stop | None) -> Iterator[RawBatch]:
    deadline = monotonic() + SILENCE_TIMEOUT_S
    while partitions:
        _heed(stop, feed.topic)
        feed.fetch(FETCH_S)
        for partition in sorted(partitions):
            while batch := feed.take(partition):
                deadline = monotonic() + SILENCE_TIMEOUT_S
                yield batch
                _heed(stop, feed.topic)
                if batch.end:
                    partitions.remove(partition)
                    break
        if monotonic() > deadline:
            raise Unavailable(
                f'could not read topic "{feed.topic}" to the end: '
                f"{feed.server} sent nothing for {SILENCE_TIMEOUT_S:g} s"
            )


def _heed(stop: Stop | None, topic: str) -> None:
    if stop is not None and stop.requested:
        raise Unavailable(f'reading topic "{topic}" was stopped before its end; the next start reads it again')


def _ask(connection: KafkaConnection, topic: str, question: Callable[[Feed], T], group: str | None = None) -> T:
    feed = Feed(connection, topic, group)
    try:
        return feed.wait_for(lambda: question(feed))
    finally:
        feed.close()
