"""The stream as a sink: one part per partition of a topic, one idempotent producer per process.

Guarantee: effectively once. A snapshot waits until Kafka has everything and keeps the next offset; what was written
after the last snapshot stands in the topic from there on, and a restart skips it instead of writing it twice.
"""

from collections import deque
from typing import Final, Literal, Protocol, cast

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import Message

from assets.batch import Outgoing, stream_key
from assets.condition import Refused
from assets.connection import KafkaConnection
from sinks._kafka import Reader, Reports, SharedProducer, shared_producer
from sinks._kafka_topics import TopicSpec, delete_topic, ensure_topics, put_table, stream_topics
from sinks._wait import Stopping

__all__ = ["StreamSink", "TopicSpec", "delete_topic", "ensure_topics", "put_table", "stream_topics"]

ID_HEADER: Final = "id"
FLOW_HEADER: Final = "flow"
CHUNK_RECORDS: Final = 5_000

Headers = list[tuple[str, str | bytes | None]]
Resume = Literal["append", "prefix", "ids"]


class StreamSink(FixedPartitionedSink[list[Outgoing], int]):
    """Records to a topic; items are keyed by `stream_key(partition)`, the state of a part is its next offset.

    resume="append": what comes is written (the input cannot be read again anyway). "prefix": the output of a
    partition is a function of its input, so what stands in the partition after the snapshot is compared with what
    comes, record by record, and skipped; a difference is refused. "ids": others write to the topic too; records whose
    id stands there after the snapshot (with the header `flow`, if one is named) are skipped once each.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        stop: Stopping,
        *,
        resume: Resume,
        flow: str | None = None,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._stop = stop
        self._resume = resume
        self._flow = flow
        self._reader: Reader | None = None

    def list_parts(self) -> list[str]:
        """One part per partition of the topic."""
        count = self._read().partition_count()
        if count is None:
            raise Refused(
                f'could not write topic "{self._topic}" at kafka at {self._connection.bootstrap}: it does not exist; '
                "make it with sinks.kafka.ensure_topics before the flow starts"
            )
        return [stream_key(p) for p in range(count)]

    def part_fn(self, item_key: str) -> int:
        """The partition is in the key."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_StreamPartition":
        """Begin after the snapshot, else at the oldest record."""
        partition = int(for_part)
        producer = shared_producer(self._connection)
        if self._resume == "append":
            return _StreamPartition(producer, self._topic, partition, self._stop, None, resume_state or 0)
        producer.drain(self._stop)  # a run that failed in this process may have left records behind
        reader = self._read()
        low, high = reader.watermarks(partition)
        start = low if resume_state is None else resume_state
        if not low <= start <= high:
            raise Refused(
                f'could not go on writing topic "{self._topic}" partition {partition} at offset {start}: it holds '
                f"{low} to {high}, so it was made anew or has lost records; delete the recovery store of the flow"
            )
        written: _Written
        if self._resume == "prefix":
            written = _Prefix(reader, partition, start)
        else:
            written = _Ids(reader, partition, start, high, self._flow)
        return _StreamPartition(producer, self._topic, partition, self._stop, written, start)

    def _read(self) -> Reader:
        if self._reader is None:
            self._reader = Reader(self._connection, self._topic, self._stop)
        return self._reader


class _Written(Protocol):
    """What stood in a partition when the flow started."""

    def rest(self, records: list[Outgoing]) -> list[Outgoing]:
        """Those of the records that are not there yet."""

    def position(self) -> int | None:
        """The offset to compare from after a restart now; None: nothing is left to compare."""


class _StreamPartition(StatefulSinkPartition[list[Outgoing], int]):
    """One partition of the topic."""

    def __init__(
        self,
        producer: SharedProducer,
        topic: str,
        partition: int,
        stop: Stopping,
        written: _Written | None,
        start: int,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._stop = stop
        self._written = written
        self._next = start
        self._reports: Reports = {}

    def write_batch(self, values: list[list[Outgoing]]) -> None:
        """Hand the records to the producer, which sends them by itself."""
        for records in values:
            self._write(records if self._written is None else self._written.rest(records))
        self._producer.poll()
        self._check()

    def snapshot(self) -> int:
        """Wait until Kafka has all of it; then the next offset."""
        self._producer.drain(self._stop)
        self._check()
        if latest := self._reports.pop(None, None):
            offset = latest.offset()
            assert offset is not None
            self._next = offset + 1
        if self._written is None:
            return self._next
        position = self._written.position()
        if position is None:
            self._written = None
            return self._next
        return position

    def _write(self, records: list[Outgoing]) -> None:
        produce, topic, partition = self._producer.produce, self._topic, self._partition
        report = self._reports.__setitem__  # called by the client without a Python frame; the latest report stays
        for record in records:
            if record.partition != partition:
                raise ValueError(
                    f'record "{record.id}" is for partition {record.partition} but came under the key of {partition}'
                )
            headers: Headers = [(ID_HEADER, record.id)] if record.id else []
            if record.headers:
                headers += record.headers
            while True:
                try:
                    produce(topic, record.value, record.key, partition, report, None, 0, headers)
                except BufferError:
                    self._producer.wait_for_room(self._stop)
                else:
                    break

    def _check(self) -> None:
        for error, record in self._reports.items():
            if error is not None:
                raise Refused(
                    f'could not write a record of {len(record.value() or b"")} bytes to topic "{self._topic}" '
                    f"partition {self._partition}: {error.str()} ({error.name()})"
                )


class _Prefix:
    """The records of a partition from an offset on, read as they are needed, are the first that will come again."""

    def __init__(self, reader: Reader, partition: int, start: int) -> None:
        self._reader = reader
        self._partition = partition
        self._position = start
        self._known: deque[Message] = deque()
        self._exhausted = False

    def rest(self, records: list[Outgoing]) -> list[Outgoing]:
        if self._exhausted:
            return records
        for i, record in enumerate(records):
            if not self._known:
                self._known.extend(self._reader.read(self._partition, self._position, CHUNK_RECORDS))
            if not self._known:
                self._exhausted = True
                return records[i:]
            message = self._known.popleft()
            offset = message.offset()
            assert offset is not None
            if (found := header(message, ID_HEADER)) != record.id:
                raise Refused(
                    f'output of topic "{self._reader.topic}" partition {self._partition} diverges at offset {offset}: '
                    f'it holds "{found}", the flow now makes "{record.id}"; the logic has changed: rebuild into a new '
                    "generation (python -m replay rebuild)"
                )
            self._position = offset + 1
        return []

    def position(self) -> int | None:
        return None if self._exhausted else self._position


class _Ids:
    """The ids that stand in a partition from an offset on, each with its offsets."""

    def __init__(self, reader: Reader, partition: int, start: int, end: int, flow: str | None) -> None:
        self._known: dict[str, list[int]] = {}
        while start < end and (messages := reader.read(partition, start, CHUNK_RECORDS)):
            for message in messages:
                offset = message.offset()
                assert offset is not None
                start = offset + 1
                if flow is None or header(message, FLOW_HEADER) == flow:
                    self._known.setdefault(header(message, ID_HEADER), []).append(offset)

    def rest(self, records: list[Outgoing]) -> list[Outgoing]:
        if not self._known:
            return records
        return [record for record in records if not self._skip(record.id)]

    def position(self) -> int | None:
        return min(offsets[0] for offsets in self._known.values()) if self._known else None

    def _skip(self, name: str) -> bool:
        offsets = self._known.get(name)
        if not offsets:
            return False
        offsets.pop(0)
        if not offsets:
            del self._known[name]
        return True


def header(message: Message, name: str) -> str:
    """The text of a record's header, or nothing."""
    found = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return next((value.decode() for key, value in found if key == name and value is not None), "")
