"""What the client library for Kafka is used for when reading; sources/kafka.py is made of it.

One `Feed` is one consumer (librdkafka starts four threads for each), shared by all partitions that a worker reads.
"""

# ruff: noqa: SLF001 - the client library's own error codes begin with an underscore
import logging
from collections.abc import Callable, Mapping
from threading import Thread
from time import monotonic
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from assets.batch import RawBatch
from assets.condition import Condition, Refused
from assets.connection import KafkaConnection
from assets.kafka_errors import outage
from sources._kafka_batches import Batches, offset_of, partition_of
from sources._partition import Stop

log = logging.getLogger(__name__)

BATCH_RECORDS: Final = 4_000
QUEUED_BATCHES: Final = 3
"""Batches that may wait in a worker because their partition was not asked yet; librdkafka's own queue comes before."""
CLOSE_PATIENCE_S: Final = 3.0
"""While Kafka is away the client would wait a minute and more to note offsets, which only lag tools read."""
ASK_S: Final = 1.0
ANSWER_TIMEOUT_S: Final = 10.0
"""How long a command (not a flow: that waits) lets Kafka take to answer."""
MISSING_PATIENCE_S: Final = 3.0
"""A broker that has just started does not know all of its topics yet."""
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

T = TypeVar("T")


class Feed:
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
        self.topic = topic
        self.closed = False
        self._reason = ""
        self.server = f"kafka at {connection.bootstrap}"
        self._condition = Condition(log, self.server, f'reading topic "{topic}"')
        self._group = group
        self._batch_records = batch_records
        self._batches = Batches(topic, self._unassign)
        self._notes: dict[int, int] = {}
        self._probe_at = 0.0
        self._missing_since = 0.0
        more = {"enable.partition.eof": bounded, "error_cb": self._on_error, "on_commit": _on_commit}
        named = {**connection.settings(), **SETTINGS, "group.id": group or NO_GROUP}
        self._consumer = Consumer({**named, **more})

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
        messages = self._consumer.consume(self._batch_records, timeout_s)
        if not messages:
            if self._condition.away:
                self._probe()
            return
        reached: dict[int, int] = {}
        errors = list(map(Message.error, messages))
        if any(errors):
            for message, error in zip(messages, errors, strict=True):
                if error is not None:
                    self._event(message, error, reached)
            messages = [message for message, error in zip(messages, errors, strict=True) if error is None]
        if messages or reached:
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

    def partition_count(self) -> int:
        """How many partitions the topic has."""
        found = self._consumer.list_topics(self.topic, timeout=ASK_S).topics[self.topic]
        if found.error is None:
            return len(found.partitions)
        self._missing_since = self._missing_since or monotonic()
        if monotonic() - self._missing_since < MISSING_PATIENCE_S:
            raise KafkaException(found.error)
        raise Refused(
            f'could not read topic "{self.topic}" at {self.server}: {found.error.str()}; '
            "start the flow that writes it, or check its name and KAFKA_BOOTSTRAP"
        )

    def watermarks(self, partition: int) -> tuple[int, int]:
        """The offsets of the oldest record and of the next one to be written."""
        try:
            marks = self._consumer.get_watermark_offsets(TopicPartition(self.topic, partition), timeout=ASK_S)
        except KafkaException:
            self._consumer.list_topics(self.topic, timeout=ASK_S)  # a stopping broker's denial is believed for minutes
            raise
        if marks is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer to the question for offsets"))
        return marks

    def offsets_at(self, time_ms: int) -> dict[int, int]:
        """Per partition the first offset at or after an instant."""
        asked = [TopicPartition(self.topic, p, time_ms) for p in range(self.partition_count())]
        found = self._consumer.offsets_for_times(asked, timeout=ASK_S)
        return {at.partition: at.offset if at.offset >= 0 else self.watermarks(at.partition)[1] for at in found}

    def committed(self) -> dict[int, int]:
        """Per partition the offset noted for the group, where there is one."""
        asked = [TopicPartition(self.topic, p) for p in range(self.partition_count())]
        found = self._consumer.committed(asked, timeout=ASK_S)
        return {at.partition: at.offset for at in found if at.offset >= 0}

    def wait_for(self, question: Callable[[], T], stop: Stop | None = None) -> T:
        """The answer of Kafka; a flow (with `stop`) waits for it as long as need be, a command some seconds."""
        deadline = monotonic() + ANSWER_TIMEOUT_S
        return self._condition.wait_for(
            question,
            self._outage,
            lambda: stop.requested if stop else monotonic() > deadline,
        )

    def check_start(self, partition: int, start: int, low: int, high: int) -> None:
        """Refuse an offset that cannot be read."""
        if low <= start <= high:
            return
        if start < low:
            why = f"the oldest record there is {low}: retention or a deletion has removed {low - start} records"
        else:
            why = f"the topic ends at {high}: it was made anew, has lost records, or this is another cluster"
        raise Refused(_cannot_begin(self.topic, partition, start, why))

    def _unassign(self, partition: int) -> None:
        self._consumer.incremental_unassign([TopicPartition(self.topic, partition)])

    def _event(self, message: Message, error: KafkaError, reached: dict[int, int]) -> None:
        partition, offset = partition_of(message), offset_of(message)
        if error.code() == KafkaError._PARTITION_EOF:
            reached[partition] = offset
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise Refused(_cannot_begin(self.topic, partition, offset, error.str()))
        elif outage(error.name(), error.str()) is not None:
            self._condition.lost(self._reason or error.str())
        else:
            raise Refused(
                f'could not read topic "{self.topic}" partition {partition} at {self.server}: '
                f"{error.str()} ({error.name()})"
            )

    def _outage(self, failure: Exception) -> str | None:
        if not isinstance(failure, KafkaException):
            return None
        return outage(failure.args[0].name(), self._reason or failure.args[0].str())

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._condition.lost(self._reason or error.str())
        else:
            self._reason = error.str()
            if error.code() == KafkaError._AUTHENTICATION:
                self._condition.lost(self._reason)

    def _probe(self) -> None:
        """While Kafka is away, find out whether it is back: an idle topic would not tell."""
        if monotonic() < self._probe_at:
            return
        self._probe_at = monotonic() + PROBE_INTERVAL_S
        try:
            self._consumer.list_topics(self.topic, timeout=PROBE_S)
        except KafkaException:
            return
        self._condition.back()

    def _commit(self) -> None:
        if self._notes:
            notes, self._notes = self._notes, {}
            offsets = [TopicPartition(self.topic, p, offset) for p, offset in notes.items()]
            try:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException as failure:
                log.debug("could not note offsets of group %r: %s", self._group, failure)


def _on_commit(error: KafkaError | None, offsets: list[TopicPartition]) -> None:
    if error is not None:  # only lag tools read them: the next snapshot's come in a second
        log.debug("could not note offsets %s: %s", offsets, error.str())


def _cannot_begin(topic: str, partition: int, offset: int, why: str) -> str:
    return (
        f'could not read topic "{topic}" partition {partition} from offset {offset}: {why}; '
        "to begin at the oldest record delete the recovery store of the flow, and check the topic's retention"
    )
