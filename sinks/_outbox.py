"""The way of ingest's records to Kafka: first into the spool, then to the client, and off the disk once Kafka has them.

While Kafka takes them, records are sent from memory and the disk is only written. When the client's queue is full they
stay on the disk alone, and are read from there, in order, when there is room again. Nobody waits for Kafka.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Final

from confluent_kafka import KafkaError, Message

from assets.batch import Outgoing
from assets.condition import Unavailable
from assets.errors import DISK_FULL
from sinks._blocks import Disk, produce
from sinks._kafka import SharedProducer
from sinks._spool import Block, Checkpoint, Spool, part_name
from sinks._unfiled import Sent, Unfiled
from sinks._wait import Patience, Stopping
from sinks._written import refusal

log = logging.getLogger(__name__)

BLOCK_RECORDS: Final = 1_000
SAVE_INTERVAL_S: Final = 1.0
PUMP_S: Final = (0.02, 0.25)
"""Least and most time that one call spends on records from the disk: a quarter of the time since the last one."""
SLICE_S: Final = 0.1
SETTLE_S: Final = 2.0
"""How long a stop lets Kafka take to acknowledge the rest, before it is left to the spool."""

Missing = Callable[[int, list[Outgoing]], list[Outgoing]]
"""Given a partition and records that an earlier process left: those that do not stand in the topic yet."""


class Outbox:
    """What waits for Kafka, of all topics of a process; order is kept per partition."""

    def __init__(
        self, spool: Spool, producer: SharedProducer, stop: Stopping, missing: Mapping[str, Missing] | None = None
    ) -> None:
        """`missing` knows, by topic, what an earlier process has sent; what it left unsent is sent first."""
        self._spool = spool
        self._producer = producer
        self._stop = stop
        self._missing = missing or {}
        self._lock = threading.RLock()  # delivery reports come in the middle of a call
        self._inherited = spool.next
        self._next = spool.first
        self._rest: tuple[int, Block] | None = None
        self._unacknowledged: dict[int, None] = {}
        self._reports: dict[KafkaError | None, Message] = {}
        self._refused = self._reports.__setitem__  # called by the client without a Python frame
        self._parts = dict(spool.checkpoint.parts)
        self._at = spool.checkpoint.at
        self._checked = self._inherited
        self._saved_at = self._pumped_at = monotonic()
        self._settle_until: float | None = None
        self._disk = Disk(spool)
        self._unfiled = Unfiled()

    @property
    def full(self) -> bool:
        """Whether the bound of the spool is reached: what comes now should be dropped, and counted.

        Nobody writes as long as it is, so those who ask make it empty.
        """
        if not self._spool.full:
            return False
        with self._lock:
            self._pump()
        return self._spool.full

    @property
    def waiting(self) -> bool:
        """Whether there is anything that Kafka has not acknowledged."""
        return self._behind or bool(self._unacknowledged) or bool(self._unfiled)

    def write(self, topic: str, partition: int, records: list[Outgoing]) -> None:
        """Take over records: when this returns, the end of the process does not lose them."""
        with self._lock:
            for start in range(0, len(records), BLOCK_RECORDS):
                self._put(Block(topic, partition, records[start : start + BLOCK_RECORDS]))
            self._pump()

    def snapshot(self) -> None:
        """Make durable what waits, once a second; after a stop was asked for, give Kafka some time first."""
        with self._lock:
            self._pump()
            self._file()
            if self._stop.requested:
                self._settle()
            elif monotonic() - self._saved_at >= SAVE_INTERVAL_S:
                self._save(sync=self._low() < self._checked)  # what is older than a second: Kafka does not keep up

    def finish(self) -> None:
        """Wait until Kafka has everything; nothing will be written any more."""
        with self._lock:
            self._pump()
            while self.waiting:
                if self._stop.requested:
                    raise Unavailable(f'spool "{self._spool.folder}" was not sent before the stop; the next start does')
                self._producer.drain_within(SLICE_S)
                self._pump()
            self._save(sync=False)

    def _put(self, block: Block) -> None:
        """Into the spool; with a full disk straight to the client once all before has left, and devices wait for it."""
        patience = Patience(self._stop, f'write spool "{self._spool.folder}": the disk is full')
        while not self._spooled(block) and not self._direct(block):
            patience.wait(lambda _: self._producer.drain_within(SLICE_S))
            self._pump()

    def _spooled(self, block: Block) -> bool:
        """Whether the spool has it, and all that is in no file before it: a kill would take just that."""
        begun = self._unfiled.has(block)
        if not self._file() or begun:
            return not self._unfiled
        ready = not self._behind
        if (position := self._disk.append(block)) is None:
            return False
        if ready:
            self._send(position, block)
        return True

    def _file(self) -> bool:
        """Bring into the spool what the client was given without it; whether nothing of that is left."""
        while sent := self._unfiled.first:
            if (position := self._disk.append(sent.block)) is None:
                return False
            self._unfiled.forget(sent)
            sent.position = position
            self._unacknowledged[position] = None
            self._given(position, sent.block, sent.rest)
        return True

    def _direct(self, block: Block) -> bool:
        """Whether the client has it all; a part of it that did is no reason to begin again."""
        if self._behind:
            return False
        sent = self._unfiled.sent(block)
        rest = Block(block.topic, block.partition, sent.rest)
        sent.rest = sent.rest[produce(self._producer, rest, partial(self._acknowledge_sent, sent), self._refused) :]
        return not sent.rest

    def _acknowledge_sent(self, sent: Sent, error: KafkaError | None, last: Message) -> None:
        if error is None and sent.position is None:
            self._unfiled.forget(sent)
        else:
            self._acknowledge(sent.position or 0, part_name(sent.block), error, last)

    @property
    def _behind(self) -> bool:
        """Whether there are blocks that the client has not been given."""
        return self._rest is not None or self._next < self._spool.next

    def _send(self, position: int, block: Block) -> None:
        """Give a block to the client; what does not fit into its queue is the rest, for the next time."""
        self._unacknowledged[position] = None
        done = partial(self._acknowledge, position, part_name(block))
        self._given(position, block, block.records[produce(self._producer, block, done, self._refused) :])

    def _given(self, position: int, block: Block, rest: list[Outgoing]) -> None:
        self._next = position + 1
        self._rest = (position, Block(block.topic, block.partition, rest)) if rest else None

    def _acknowledge(self, position: int, part: str, error: KafkaError | None, last: Message) -> None:
        if error is not None:
            self._refused(error, last)
            return
        self._unacknowledged.pop(position, None)
        offset, (_, at_ms) = last.offset(), last.timestamp()
        assert offset is not None
        self._parts[part] = position + 1, offset + 1
        self._at = max(self._at, at_ms * 1_000)

    def _pump(self) -> None:
        """Take reports, send what waits on the disk for a short time, delete what Kafka has."""
        now = monotonic()
        self._producer.poll()
        deadline = now + min(max((now - self._pumped_at) / 4, PUMP_S[0]), PUMP_S[1])
        while self._behind and self._send_next() and monotonic() < deadline:
            pass
        self._pumped_at = monotonic()
        if self._spool.segments > 1:
            self._spool.release(self._low())
        for error, record in self._reports.items():
            if error is not None:
                raise refusal(error, record, "; it stays in the spool: change the limits of the topic and start again")

    def _send_next(self) -> bool:
        """Send what comes next; whether the client has room for more."""
        if self._rest is not None:
            self._send(*self._rest)
        elif found := self._spool.read(self._next):
            self._send_inherited(*found) if found[0] < self._inherited else self._send(*found)
        else:
            self._next = self._spool.next
        return self._rest is None

    def _send_inherited(self, position: int, block: Block) -> None:
        """Send what of an earlier process's block Kafka does not have."""
        if position < self._spool.acknowledged(block):
            block.records = []
        elif missing := self._missing.get(block.topic):
            block.records = missing(block.partition, block.records)
        if block.records:
            self._send(position, block)
        else:
            self._next = position + 1

    def _low(self) -> int:
        """Before this position Kafka has everything."""
        return next(iter(self._unacknowledged), self._next)

    def _save(self, *, sync: bool) -> None:
        self._saved_at = monotonic()
        self._checked = self._spool.next
        try:
            if sync:
                self._spool.sync()
            self._spool.save(Checkpoint(self._at, dict(self._parts)))
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise  # an older checkpoint says less, but nothing wrong

    def _settle(self) -> None:
        """The flow ends: what Kafka does not acknowledge soon is safe on the disk, for the next start."""
        first = self._settle_until is None
        self._settle_until = self._settle_until or monotonic() + SETTLE_S
        while self.waiting and monotonic() < self._settle_until:
            self._producer.drain_within(SLICE_S)
            self._pump()
        self._save(sync=self.waiting)
        if not self._file():
            raise Unavailable(
                f'could not keep {len(self._unfiled)} blocks before the stop: the disk of spool "{self._spool.folder}" '
                "is full, and Kafka is away: they are lost, and the next start tells of the gap"
            )
        if first and self.waiting:
            log.warning(
                'blocks %d to %d wait in spool "%s" for Kafka; the next start writes them',
                self._low(),
                self._spool.next - 1,
                self._spool.folder,
            )
