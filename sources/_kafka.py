"""What the client library for Kafka is used for when reading; sources/kafka.py is made of it.

One `Feed` is one consumer (librdkafka starts four threads for each), shared by all partitions that a worker reads.
"""

# ruff: noqa: SLF001 - the client library's own error codes begin with an underscore
import logging
from collections.abc import Mapping
from threading import Thread
from time import monotonic
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from assets.batch import RawBatch
from assets.condition import Condition, Refused
from assets.connection import KafkaConnection
from assets.kafka_errors import outage
from sources._kafka_batches import Batches, offset_of, partition_of
from sources._kafka_questions import OnError, Questions, cannot_begin, weakly
from sources._kafka_watch import UNANSWERED, Watch

log = logging.getLogger(__name__)

BATCH_RECORDS: Final = 4_000
QUEUED_BATCHES: Final = 3
"""Batches that may wait in a worker because their partition was not asked yet; librdkafka's own queue comes before."""
CLOSE_PATIENCE_S: Final = 3.0
"""While Kafka is away the client would wait a minute and more to note offsets, which only lag tools read."""
PROBE_INTERVAL_S: Final = 1.0
PROBE_S: Final = 0.1
NO_GROUP: Final = "penstock"
"""librdkafka wants a group's name even from those who never join nor commit."""

SETTINGS: Final[Mapping[str, str | int | bool]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # an offset that is gone is an error, not a reason to begin elsewhere
    "isolation.level": "read_committed",
    "check.crcs": True,
    "fetch.wait.max.ms": 10,
    "fetch.queue.backoff.ms": 5,  # the default of 1 s starves whoever reads faster than 100 000 records/s
    "queued.max.messages.kbytes": 65_536,
    "reconnect.backoff.max.ms": 1_000,
    "topic.metadata.refresh.interval.ms": 10_000,  # a broker that starts may deny a topic: that is believed until asked
    "allow.auto.create.topics": False,
    "log_level": 0,  # changes of condition are logged here, once
}


class Feed(Questions):
    """One consumer and the batches of the partitions that were opened on it."""

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        group: str | None = None,
        batch_records: int = BATCH_RECORDS,
        *,
        bounded: bool = False,
    ) -> None:
        settings = {**connection.settings(), **SETTINGS, "group.id": group or NO_GROUP, "enable.partition.eof": bounded}
        self.closed = False
        self._group = group
        self._batch_records = batch_records
        self._batches = Batches(topic, weakly(self._unassign))
        self._notes: dict[int, int] = {}
        self._watch = Watch()
        self._probe_at = 0.0
        self._drained = False
        self._dry = False
        """Whether the client had nothing more since Kafka was lost: what it brings then is new."""

        def make(on_error: OnError) -> Consumer:
            return Consumer({**settings, "error_cb": on_error, "on_commit": _on_commit})

        condition = Condition(log, f"kafka at {connection.bootstrap}", f'reading topic "{topic}"')
        super().__init__(topic, condition, make)

    def open(self, partition: int, start: int, end: int | None) -> None:
        """Begin to read a partition; nothing is fetched for an empty range."""
        if self._batches.open(partition, start, end):
            self._consumer.incremental_assign([TopicPartition(self.topic, partition, start)])

    def take(self, partition: int) -> RawBatch | None:
        """The next batch of a partition, if there is one by now."""
        batches = self._batches
        if not batches.ready(partition) and batches.waiting < QUEUED_BATCHES * self._batch_records:
            self.fetch(0)
        return batches.take(partition)

    def fetch(self, timeout_s: float) -> None:
        """Sort what has arrived into the queues of the partitions."""
        self._commit()
        due = self._watch.due(monotonic(), drained=self._drained)
        if self._condition.away:
            self._probe()
        elif due:
            self._look()
        messages = self._consumer.consume(self._batch_records, timeout_s)
        self._drained = len(messages) < self._batch_records
        if not messages:
            self._dry = True
            return
        reached: dict[int, int] = {}
        errors = list(map(Message.error, messages))
        if any(errors):
            for message, error in zip(messages, errors, strict=True):
                if error is not None:
                    self._event(message, error, reached)
            messages = [message for message, error in zip(messages, errors, strict=True) if error is None]
        if self._dry and (messages or reached):
            self._condition.back()
        self._batches.sort_in(messages)
        for partition, offset in reached.items():
            self._batches.reached(partition, offset)

    def note(self, partition: int, offset: int) -> None:
        """Remember for the group how far a partition has been processed."""
        if self._group is not None:
            self._notes[partition] = offset

    def leave(self, partition: int) -> None:
        """A partition needs no more; the last one closes the consumer."""
        if self._batches.leave(partition):
            self.close()

    def close(self) -> None:
        """Leave Kafka; offsets that were noted are committed, for the engine has finished their epoch."""
        if not self.closed:
            self.closed = True
            self._commit()
            (closing := Thread(target=self._consumer.close, daemon=True)).start()
            closing.join(CLOSE_PATIENCE_S)

    def _unassign(self, partition: int) -> None:
        self._consumer.incremental_unassign([TopicPartition(self.topic, partition)])

    def _event(self, message: Message, error: KafkaError, reached: dict[int, int]) -> None:
        partition, offset = partition_of(message), offset_of(message)
        if error.code() == KafkaError._PARTITION_EOF:
            reached[partition] = offset
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise Refused(cannot_begin(self.topic, partition, offset, error.str()))
        elif outage(error.name(), error.str()) is not None:
            self._lost(error.str())
        else:
            raise Refused(
                f'could not read topic "{self.topic}" partition {partition} at {self.server}: '
                f"{error.str()} ({error.name()})"
            )

    def _lost(self, reason: str) -> None:
        """Kafka is away; records that had come before are no answer."""
        self._dry = self._dry and self._condition.away
        super()._lost(reason)

    def _probe(self) -> None:
        """While Kafka is away, find out whether it is back: an idle topic would not tell."""
        if monotonic() < self._probe_at:
            return
        self._probe_at = monotonic() + PROBE_INTERVAL_S
        if self.exists(PROBE_S):
            self._condition.back()
        else:
            self._unanswered()

    def _look(self) -> None:
        """See whether there is more of the partitions of which nothing has come for long."""
        positions = self._batches.positions
        if not (quiet := self._watch.quiet(positions)):
            return
        ends = self.ends(quiet)
        for partition in (stuck := self._watch.stuck(ends)):
            log.warning(
                'partition %d of topic "%s" at %s ends at %d, but nothing came after %d; a new client reads on',
                *(partition, self.topic, self.server, (ends or {})[partition], positions[partition]),
            )
        if stuck:
            self._renew()
        elif self._watch.unanswered >= UNANSWERED:
            self._lost("it does not answer")

    def _renew(self) -> None:
        """All that came is in the batches, so what the former client still had is fetched again."""
        super()._renew()
        self._dry = True
        self._consumer.incremental_assign(
            [TopicPartition(self.topic, p, at) for p, at in self._batches.positions.items()]
        )

    def _commit(self) -> None:
        if self._notes and not self._condition.away:  # a client that waits to note them takes a minute to close
            notes, self._notes = self._notes, {}
            offsets = [TopicPartition(self.topic, p, offset) for p, offset in notes.items()]
            try:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException as failure:
                log.debug("could not note offsets of group %r: %s", self._group, failure)


def _on_commit(error: KafkaError | None, offsets: list[TopicPartition]) -> None:
    if error is not None:  # only lag tools read them: the next snapshot's come in a second
        log.debug("could not note offsets %s: %s", offsets, error.str())
