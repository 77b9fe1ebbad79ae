"""Live values: the newest message of every subject in one JetStream stream, followed by whoever wants to see it live.

Messages go out in batches behind one acknowledgement: a connection is served in order, so the last message's sequence
number says whether all before it are stored. A batch without its acknowledgement is sent again; that only repeats
newest values. What the store already has, or has newer, is skipped when a flow starts, so a replay never shows old
values as new. While NATS is away the flow waits.
"""

from itertools import chain
from typing import Final

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from assets.batch import LiveValue
from assets.connection import NatsConnection
from sinks._jetstream import STREAM, Last, delete_stream, find_last_values, last_values, subscribe_last
from sinks._publisher import Identity, Publisher, StreamLostError
from sinks._wait import Stopping

__all__ = [
    "STREAM",
    "Last",
    "LiveSink",
    "StreamLostError",
    "delete_stream",
    "find_last_values",
    "last_values",
    "subscribe_last",
]

STATE_VERSION: Final = 1
MOST_PARTITIONS: Final = 1024


class LiveSink(FixedPartitionedSink[list[LiveValue], bytes]):
    """Items are `(stream_key(partition), live values)`; all partitions share one connection.

    `prefix` (`rebuild.g2.`) and a `stream` of its own keep a rebuilt generation away from the live subjects.
    """

    def __init__(self, connection: NatsConnection, stop: Stopping, *, stream: str = STREAM, prefix: str = "") -> None:
        self._publisher = Publisher(connection, stop, stream, prefix)

    def list_parts(self) -> list[str]:
        return [f"{partition:04}" for partition in range(MOST_PARTITIONS)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "_Partition":
        return _Partition(self._publisher, int(for_part), resume_state)


class _Partition(StatefulSinkPartition[list[LiveValue], bytes]):
    """One partition: leaves out what the store already has, hands the rest to the publisher."""

    def __init__(self, publisher: Publisher, partition: int, resume: bytes | None) -> None:
        publisher.join()
        self._publisher = publisher
        known = None if resume is None else msgspec.msgpack.decode(resume, type=_State).identity
        self._stored = publisher.stored(partition, known)
        self._ticket = 0

    def write_batch(self, values: list[list[LiveValue]]) -> None:
        flat = list(chain.from_iterable(values))
        if self._stored:
            flat = [value for value in flat if self._newer(value)]
        if flat:
            self._ticket = self._publisher.handover.put(flat)

    def _newer(self, value: LiveValue) -> bool:
        stored = self._stored.get(value.subject)
        if stored is None:
            return True
        if (value.offset, value.index) <= stored:
            return False
        del self._stored[value.subject]
        return True

    def snapshot(self) -> bytes:
        self._publisher.handover.flush(self._ticket)
        return msgspec.msgpack.encode(_State(STATE_VERSION, self._publisher.identity))

    def close(self) -> None:
        self._publisher.leave()


class _State(msgspec.Struct):
    version: int
    identity: Identity
