"""What the client library for Kafka is used for when writing; sinks/kafka.py is made of it."""

# ruff: noqa: SLF001 - the client library's own error codes begin with an underscore
import logging
import threading
from collections.abc import Callable, Mapping
from functools import cache
from time import monotonic
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from assets import kafka_errors
from assets.condition import Condition, Unavailable
from assets.connection import KafkaConnection
from sinks._kafka_way import Way
from sinks._wait import Stopping

log = logging.getLogger(__name__)

SLICE_S: Final = 0.1
"""The client does not return from a call when a signal comes, so no call is longer than this."""
ASK_S: Final = 1.0
ANSWER_TIMEOUT_S: Final = 10.0
"""How long a command (not a flow: that waits) lets Kafka take to answer."""
STOP_PATIENCE_S: Final = 5.0
"""After a stop was asked for, how long Kafka may take to acknowledge anything before the flow ends without it."""
ASTRAY_S: Final = 60.0
"""How long Kafka must have answered others before a client that it does not answer counts as gone astray."""
RENEW_S: Final = 10.0
"""When there is no answer for so long, a new client is tried: see sources/_kafka_questions.py."""
MISSING_PATIENCE_S: Final = 3.0
"""A broker that has just started does not know all of its topics yet."""
RECORD_BYTES_MAX: Final = 16 * 2**20

PRODUCER: Final[Mapping[str, str | int | bool]] = {
    "acks": "all",
    "enable.idempotence": True,
    "compression.type": "zstd",
    "linger.ms": 5,
    "message.timeout.ms": 0,  # an outage makes the flow wait; a record is never given up
    "partitioner": "murmur2_random",  # the Java client's; librdkafka's own default disagrees with it
    "message.max.bytes": RECORD_BYTES_MAX,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 131_072,
    "reconnect.backoff.max.ms": 1_000,
    "topic.metadata.refresh.interval.ms": 10_000,  # a broker that starts may deny a topic: that is believed until asked
    "log_level": 0,  # changes of condition are logged here, once
}
READER: Final[Mapping[str, str | int | bool]] = {
    "group.id": "penstock",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 10,
    "queued.max.messages.kbytes": 16_384,
    "reconnect.backoff.max.ms": 1_000,
    "log_level": 0,
}

SILENT: Final = logging.getLogger(f"{__name__}.silent")

T = TypeVar("T")
Reports = dict[KafkaError | None, Message]
"""Delivery reports of one partition: under None the latest record that Kafka has, else a record it refused."""


class SharedProducer:
    """The one producer of the process: order and idempotence hold per producer and partition."""

    def __init__(self, connection: KafkaConnection) -> None:
        self.condition = Condition(log, f"kafka at {connection.bootstrap}", "writing")
        self._reason = ""
        self._errors = 0
        self._producer = Producer({**connection.settings(), **PRODUCER, "error_cb": self._on_error})
        self._way = Way(connection, lambda: self._producer.list_topics(timeout=ASK_S))
        self.produce = self._producer.produce

    @property
    def waiting(self) -> int:
        """How many records Kafka has not acknowledged."""
        return len(self._producer)

    def poll(self) -> None:
        """Take the delivery reports that have come."""
        if self.condition.away:
            self._step(lambda: self._producer.poll(0))
        else:
            self._producer.poll(0)

    def wait_for_room(self, stop: Stopping) -> None:
        """Wait until the queue to Kafka has room again."""
        waiting = len(self._producer)
        self._wait(lambda: len(self._producer) < waiting, lambda: self._producer.poll(SLICE_S), stop)

    def drain(self, stop: Stopping) -> None:
        """Wait until Kafka has acknowledged everything."""
        self._wait(lambda: not len(self._producer), lambda: self._producer.flush(SLICE_S), stop)

    def drain_within(self, timeout_s: float) -> None:
        """Send what waits, for a command: whether Kafka has it is told by the reports."""
        self._producer.flush(timeout_s)

    def _wait(self, done: Callable[[], bool], step: Callable[[], int], stop: Stopping) -> None:
        progress_at = monotonic()
        while not done():
            if self._step(step) or not stop.requested:
                progress_at = monotonic()
            elif monotonic() - progress_at > STOP_PATIENCE_S:
                raise Unavailable(
                    f"could not write {len(self._producer)} records: {self.condition.server} has acknowledged nothing "
                    f"for {STOP_PATIENCE_S:g} s ({self._reason or 'no error was reported'}) and a stop was asked for; "
                    "the next start goes on at the last snapshot and writes them"
                )

    def _step(self, step: Callable[[], int]) -> bool:
        """Whether a step brought acknowledgements (and not only reports of errors, which wait in the same queue)."""
        left, errors = len(self._producer), self._errors
        step()
        progress = len(self._producer) < left and errors == self._errors
        if progress:
            self.condition.back()
        if progress or not left:
            self._way.found()
        elif self.condition.away and self._way.looked_for() > ASTRAY_S:
            # nobody knows which of its records Kafka has, so no other client may send them: a start finds that out
            raise Unavailable(
                f"could not write {left} records: the client does not find the way to {self.condition.server}, which "
                f"answers others for {ASTRAY_S:g} s; the next start goes on at the last snapshot and writes them"
            )
        return progress

    def _on_error(self, error: KafkaError) -> None:
        self._errors += 1
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.condition.lost(self._reason or error.str())
        else:
            self._reason = error.str()
            if error.code() == KafkaError._AUTHENTICATION:
                self.condition.lost(self._reason)


@cache
def shared_producer(connection: KafkaConnection) -> SharedProducer:
    """The producer of this process for one cluster."""
    return SharedProducer(connection)


class Reader:
    """Reads back what stands in a topic: counts, offsets and pieces of a partition."""

    def __init__(self, connection: KafkaConnection, topic: str, stop: Stopping | None = None) -> None:
        self.topic = topic
        self._stop = stop
        self._condition = Condition(log, f"kafka at {connection.bootstrap}", f'reading back topic "{topic}"')
        self._lock = threading.Lock()
        self._settings = {**connection.settings(), **READER}
        self._assigned: list[TopicPartition] = []
        self._consumer = Consumer(self._settings)

    def quiet(self) -> None:
        """Ask as commands do from now on: not for ever, and others say when Kafka is away."""
        self._stop = None
        SILENT.setLevel(logging.CRITICAL)
        self._condition = Condition(SILENT, self._condition.server, self._condition.purpose)

    def cluster(self) -> str:
        """The id of the cluster that answers."""
        return self._wait_for(lambda: str(self._consumer.list_topics(self.topic, timeout=ASK_S).cluster_id))

    def partition_count(self) -> int | None:
        """How many partitions the topic has; None: there is no such topic."""
        asked_at = monotonic()

        def ask() -> int | None:
            found = self._consumer.list_topics(self.topic, timeout=ASK_S).topics[self.topic]
            if found.error is None:
                return len(found.partitions)
            if monotonic() > asked_at + MISSING_PATIENCE_S:
                return None
            raise KafkaException(found.error)

        return self._wait_for(ask)

    def watermarks(self, partition: int) -> tuple[int, int]:
        """The offsets of the oldest record and of the next one to be written."""

        def ask() -> tuple[int, int]:
            try:
                marks = self._consumer.get_watermark_offsets(TopicPartition(self.topic, partition), timeout=ASK_S)
            except KafkaException:
                self._consumer.list_topics(self.topic, timeout=ASK_S)  # what a stopping broker denied stays believed
                raise
            if marks is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer to the question for offsets"))
            return marks

        return self._wait_for(ask)

    def read(self, partition: int, start: int, most: int) -> list[Message]:
        """Some of the records from `start` on, in order; none if Kafka has none now."""
        with self._lock:
            _, high = self.watermarks(partition)
            if start >= high:
                return []
            self._assigned = [TopicPartition(self.topic, partition, start)]
            self._consumer.assign(self._assigned)
            try:
                return self._wait_for(lambda: self._take(min(most, high - start)))
            finally:
                self._assigned = []
                self._consumer.unassign()

    def _take(self, count: int) -> list[Message]:
        messages = self._consumer.consume(count, ASK_S)
        for message in messages:
            if error := message.error():
                raise KafkaException(error)
        if not messages:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no records"))
        return messages

    def _wait_for(self, question: Callable[[], T]) -> T:
        deadline, renew_at = monotonic() + ANSWER_TIMEOUT_S, monotonic() + RENEW_S
        stop = self._stop

        def reason(failure: Exception) -> str | None:
            nonlocal renew_at
            if monotonic() > renew_at:
                self._renew()
                renew_at = monotonic() + RENEW_S
            return outage(failure)

        return self._condition.wait_for(question, reason, lambda: stop.requested if stop else monotonic() > deadline)

    def _renew(self) -> None:
        """Go on with a new client: the old one may have lost its way for ever."""
        old, self._consumer = self._consumer, Consumer(self._settings)
        self._consumer.assign(self._assigned)
        threading.Thread(target=old.close, daemon=True).start()


def outage(failure: Exception) -> str | None:
    """Why Kafka cannot be reached, if that is what a failure says; empty for what passes in a moment."""
    if not isinstance(failure, KafkaException):
        return None
    error = failure.args[0]
    return kafka_errors.outage(error.name(), error.str())
