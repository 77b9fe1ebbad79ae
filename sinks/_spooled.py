"""The stream as a sink that never waits for Kafka: records go into the spool first, for topics whose input is gone.

Guarantee: effectively once. What was handed over outlives the process; the next one sends what Kafka does not have.
"""

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from assets.batch import Outgoing, stream_key
from assets.connection import KafkaConnection
from sinks._kafka import Reader, shared_producer
from sinks._outbox import Missing, Outbox
from sinks._spool import Spool
from sinks._wait import Stopping
from sinks._written import Ids


class SpooledSink(FixedPartitionedSink[list[Outgoing], None]):
    """Records to a topic through an outbox; items are keyed by `stream_key(partition)`, and there is no state."""

    def __init__(self, outbox: Outbox, topic: str, partitions: int) -> None:
        self._outbox = outbox
        self._topic = topic
        self._partitions = partitions

    def list_parts(self) -> list[str]:
        """One part per partition of the topic."""
        return [stream_key(p) for p in range(self._partitions)]

    def part_fn(self, item_key: str) -> int:
        """The partition is in the key."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: object) -> "_SpooledPartition":
        """What an earlier process left is the outbox's business."""
        return _SpooledPartition(self._outbox, self._topic, int(for_part))


class _SpooledPartition(StatefulSinkPartition[list[Outgoing], None]):
    """One partition of the topic."""

    def __init__(self, outbox: Outbox, topic: str, partition: int) -> None:
        self._outbox = outbox
        self._topic = topic
        self._partition = partition

    def write_batch(self, values: list[list[Outgoing]]) -> None:
        """Spool and send."""
        for records in values:
            self._outbox.write(self._topic, self._partition, records)

    def snapshot(self) -> None:
        """Nothing to go back to."""
        self._outbox.snapshot()


def open_outbox(spool: Spool, connection: KafkaConnection, stop: Stopping, missing: dict[str, Missing]) -> Outbox:
    """The outbox of this process; `missing` tells, by topic, what Kafka does not have of an earlier process."""
    return Outbox(spool, shared_producer(connection), stop, missing)


def missing_by_id(spool: Spool, connection: KafkaConnection, topic: str, stop: Stopping) -> Missing:
    """What is missing of records that bear ids: those whose id does not stand in the topic where they would.

    Kafka is asked now, about what an earlier process left: the flow must not wait for it.
    """
    partitions = {block.partition for block in spool.pending() if block.topic == topic}
    known = _ids(spool, Reader(connection, topic, stop), sorted(partitions)) if partitions else {}

    def missing(partition: int, records: list[Outgoing]) -> list[Outgoing]:
        return known[partition].rest(records) if partition in known else records

    return missing


def _ids(spool: Spool, reader: Reader, partitions: list[int]) -> dict[int, Ids]:
    known = {}
    for partition in partitions:
        low, high = reader.watermarks(partition)
        _, start = spool.checkpoint.parts.get(f"{reader.topic}/{partition}", (0, low))
        known[partition] = Ids(reader, partition, max(low, start), high, None)
    return known
