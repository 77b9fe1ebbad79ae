"""A block goes to the disk and to the client of Kafka; either may have no room for it."""

import logging
from collections.abc import Callable

from confluent_kafka import KafkaError, Message

from assets.errors import DISK_FULL
from sinks._kafka import SharedProducer
from sinks._spool import Block, Spool
from sinks._wait import DiskSpace
from sinks._written import headers_of

log = logging.getLogger("sinks._outbox")

Report = Callable[[KafkaError | None, Message], None]


class Disk:
    """The spool on a disk that may be full; its changes are told."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._space = DiskSpace(log, spool.folder)

    def append(self, block: Block) -> int | None:
        """The position of a block in the spool; None: the disk is full."""
        try:
            position = self._spool.append(block)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            self._space.refused()
            return None
        self._space.taken()
        return position


def produce(producer: SharedProducer, block: Block, done: Report, refused: Report) -> int:
    """Produce records until the queue is full; returns how many. Kafka keeps the order, so the last one tells."""
    send, topic, partition, records = producer.produce, block.topic, block.partition, block.records
    last = len(records) - 1
    for i, record in enumerate(records):
        report = done if i == last else refused
        try:
            send(topic, record.value, record.key, partition, report, None, 0, headers_of(record))
        except BufferError:
            return i
    return len(records)
