"""Live values: the newest message of every subject in one JetStream stream, followed by whoever wants to see it live.

Messages go out in batches behind one acknowledgement: a connection is served in order, so the last message's sequence
number says whether all before it are stored. A batch without its acknowledgement is sent again; that only repeats
newest values. What the store already has, or has newer, is left out, so a replay never shows old values as new. While
NATS is away the flow waits. A store that was emptied or made anew gets all newest values again; if that happened while
no flow ran, `LiveSink.reached` tells it by another store id, and the flow reads the stream again.

A subject that has ended holds an empty message, which the readers here leave out: a server that is killed may bring
back what was removed, but not what was overwritten.
"""

from itertools import chain
from typing import Final

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from assets.batch import LiveValue
from assets.connection import NatsConnection
from assets.newest import Newest
from sinks._jetstream import STREAM, Last, delete_stream, find_last_values, last_values, subscribe_last
from sinks._publisher import Publisher, StoreLostError
from sinks._wait import Stopping

__all__ = [
    "STREAM",
    "Last",
    "LiveSink",
    "StoreLostError",
    "delete_stream",
    "find_last_values",
    "last_values",
    "subscribe_last",
]

STATE_VERSION: Final = 2
MOST_PARTITIONS: Final = 1024


class LiveSink(FixedPartitionedSink[list[LiveValue], bytes]):
    """Items are `(stream_key(partition), live values)`; all partitions share one connection.

    `prefix` (`rebuild.g2.`) and a `stream` of its own keep a rebuilt generation away from the live subjects. `copy`
    i/N: this process writes the partitions p with p % N == i. `last_only`: each epoch publishes what is newest at its
    end, for a stream that nobody follows while it is made.
    """

    def __init__(
        self,
        connection: NatsConnection,
        stop: Stopping,
        *,
        stream: str = STREAM,
        prefix: str = "",
        copy: str = "0/1",
        last_only: bool = False,
    ) -> None:
        self._part = _LastOnly if last_only else _Partition
        self._publisher = Publisher(connection, stop, stream, prefix, copy)

    def reached(self) -> tuple[str, int]:
        """The id of the store that holds all that was published and its newest number; waits for NATS."""
        return self._publisher.reached()

    def list_parts(self) -> list[str]:
        return [f"{partition:04}" for partition in range(MOST_PARTITIONS)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "_Partition":
        return self._part(self._publisher, int(for_part), resume_state)


class _Partition(StatefulSinkPartition[list[LiveValue], bytes]):
    """One partition: leaves out what the store already has, hands the rest to the publisher."""

    def __init__(self, publisher: Publisher, partition: int, resume: bytes | None) -> None:
        publisher.join()
        self._publisher = publisher
        if resume is not None:
            publisher.check(*_known(resume))
        self._newest: Newest = publisher.newest(partition)
        self._ticket = 0

    def write_batch(self, values: list[list[LiveValue]]) -> None:
        told = self._newest.take(chain.from_iterable(values))
        if told:
            self._ticket = self._publisher.handover.put(told)

    def snapshot(self) -> bytes:
        self._publisher.handover.flush(self._ticket)
        return msgspec.msgpack.encode((STATE_VERSION, *self._publisher.reached()))

    def close(self) -> None:
        self._publisher.leave()


class _LastOnly(_Partition):
    """One partition of a stream that nobody follows: only the last message of a subject is worth its way."""

    def __init__(self, publisher: Publisher, partition: int, resume: bytes | None) -> None:
        super().__init__(publisher, partition, resume)
        self._late: dict[str, LiveValue] = {}

    def write_batch(self, values: list[list[LiveValue]]) -> None:
        told = self._newest.take(chain.from_iterable(values))
        self._late.update((value.subject, value) for value in told)

    def snapshot(self) -> bytes:
        if self._late:
            self._ticket = self._publisher.handover.put([*self._late.values()])
            self._late.clear()
        return super().snapshot()


def _known(state: bytes) -> tuple[str, int]:
    """The store and the number in it that a snapshot was taken at; one of another version knows none."""
    try:
        _, store, seq = msgspec.msgpack.decode(state, type=tuple[int, str, int])
    except msgspec.DecodeError:
        return "", 0
    return store, seq
