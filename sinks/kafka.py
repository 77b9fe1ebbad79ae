"""The stream as a sink: one part per partition of a topic, one idempotent producer per process.

Guarantee: effectively once. A snapshot waits until Kafka has everything and keeps the next offset; what was written
after the last snapshot stands in the topic from there on, and a restart skips it instead of writing it twice.
"""

from typing import Literal

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from assets.batch import Outgoing, stream_key
from assets.condition import Refused
from assets.connection import KafkaConnection
from sinks._kafka import Reader, Reports, SharedProducer, shared_producer
from sinks._kafka_topics import TopicSpec, delete_topic, ensure_topics, put_table, stream_topics
from sinks._wait import Stopping
from sinks._written import ID_HEADER, Headers, Ids, Prefix, Written, refusal

__all__ = ["StreamSink", "TopicSpec", "delete_topic", "ensure_topics", "put_table", "stream_topics"]

Resume = Literal["prefix", "ids"]


class StreamSink(FixedPartitionedSink[list[Outgoing], int]):
    """Records to a topic; items are keyed by `stream_key(partition)`, the state of a part is its next offset.

    resume="prefix": the output of a partition is a function of its input, so what stands in the partition after the
    snapshot is compared with what comes, record by record, and skipped; a difference is refused. "ids": others write to
    the topic too; records whose id stands there after the snapshot (with the header `flow`, if one is named) are
    skipped once each.
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
        producer.drain(self._stop)  # a run that failed in this process may have left records behind
        reader = self._read()
        low, high = reader.watermarks(partition)
        start = low if resume_state is None else resume_state
        if not low <= start <= high:
            raise Refused(
                f'could not go on writing topic "{self._topic}" partition {partition} at offset {start}: it holds '
                f"{low} to {high}, so it was made anew or has lost records; delete the recovery store of the flow"
            )
        written: Written
        if self._resume == "prefix":
            written = Prefix(reader, partition, start)
        else:
            written = Ids(reader, partition, start, high, self._flow)
        return _StreamPartition(producer, self._topic, partition, self._stop, written, start)

    def _read(self) -> Reader:
        if self._reader is None:
            self._reader = Reader(self._connection, self._topic, self._stop)
        return self._reader


class _StreamPartition(StatefulSinkPartition[list[Outgoing], int]):
    """One partition of the topic."""

    def __init__(
        self,
        producer: SharedProducer,
        topic: str,
        partition: int,
        stop: Stopping,
        written: Written | None,
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
                raise refusal(error, record)
