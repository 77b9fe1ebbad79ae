"""What Kafka is asked about one topic: how many partitions, from where to where, how far a group is."""

# ruff: noqa: SLF001 - the client library's own error codes begin with an underscore
from collections.abc import Callable, Iterable
from functools import partial
from threading import Thread
from time import monotonic
from typing import Any, Final, TypeVar
from weakref import WeakMethod

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from assets.condition import Condition, Refused
from assets.kafka_errors import outage
from sources._partition import Stop

ASK_S: Final = 1.0
ANSWER_TIMEOUT_S: Final = 10.0
"""How long a command (not a flow: that waits) lets Kafka take to answer."""
MISSING_PATIENCE_S: Final = 3.0
"""A broker that has just started does not know all of its topics yet."""
GLANCE_S: Final = 0.5
"""How long a flow that runs stands still for an answer that it can do without."""
RENEW_S: Final = (10.0, 60.0)
"""When there is no answer for so long, a new client is tried; at first, and at most (each time twice as long)."""

T = TypeVar("T")
OnError = Callable[[KafkaError], None]


class Questions:
    """One consumer that is asked; a new one takes its place when it may have lost its way to Kafka for ever.

    A client that hears from a stopping broker that there is no broker at all forgets all addresses, also the one that
    it was given, and never asks anybody again (librdkafka issue 5301: seen of one client in fifty at each stop).
    """

    def __init__(self, topic: str, condition: Condition, make: Callable[[OnError], Consumer]) -> None:
        """`make` is given what to call with errors of the client that it makes."""
        self.topic = topic
        self._condition = condition
        self._make = make
        self._reason = ""
        self._missing_since = 0.0
        self._clients = 0
        self._consumer = self._new()
        self._answered()

    @property
    def server(self) -> str:
        """How the cluster is called."""
        return self._condition.server

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

    def ends(self, partitions: Iterable[int]) -> dict[int, int] | None:
        """Per partition the offset of the next record to be written; None without an answer at once."""
        asked = [TopicPartition(self.topic, p, OFFSET_END) for p in partitions]
        try:
            found = self._consumer.offsets_for_times(asked, timeout=GLANCE_S)
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError._TIMED_OUT and self.exists(GLANCE_S):
                return {}  # what a stopping broker denied stayed believed until now
            return None
        return {at.partition: at.offset for at in found if at.error is None and at.offset >= 0}

    def exists(self, timeout_s: float) -> bool:
        """Whether Kafka answers in time that there is the topic."""
        try:
            return self._consumer.list_topics(self.topic, timeout=timeout_s).topics[self.topic].error is None
        except KafkaException:
            return False

    def wait_for(self, question: Callable[[], T], stop: Stop | None = None) -> T:
        """The answer of Kafka; a flow (with `stop`) waits for it as long as need be, a command some seconds."""
        deadline = monotonic() + ANSWER_TIMEOUT_S
        self._answered()
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
        raise Refused(cannot_begin(self.topic, partition, start, why))

    def _outage(self, failure: Exception) -> str | None:
        if not isinstance(failure, KafkaException):
            return None
        self._unanswered()
        return outage(failure.args[0].name(), self._reason or failure.args[0].str())

    def _answered(self) -> None:
        self._renew_in = RENEW_S[0]
        self._renew_at = monotonic() + self._renew_in

    def _unanswered(self) -> None:
        """A question was in vain; when all were for long enough, go on with a new client."""
        if monotonic() > self._renew_at:
            self._renew()
            self._renew_in = min(2 * self._renew_in, RENEW_S[1])
            self._renew_at = monotonic() + self._renew_in

    def _renew(self) -> None:
        old, self._consumer = self._consumer, self._new()
        Thread(target=old.close, name="former client", daemon=True).start()  # without a broker it may take its time

    def _new(self) -> Consumer:
        self._clients += 1
        return self._make(partial(weakly(self._heard), self._clients))

    def _heard(self, client: int, error: KafkaError) -> None:
        if client == self._clients:  # what a former one says while it is closed is of no interest
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._lost(error.str())
        else:
            self._reason = error.str()
            if error.code() == KafkaError._AUTHENTICATION:
                self._lost(self._reason)

    def _lost(self, reason: str) -> None:
        """Kafka is away."""
        if not self._condition.away:
            self._answered()
        self._condition.lost(self._reason or reason)


def weakly(method: Callable[..., None]) -> Callable[..., None]:
    """A method that does not keep its object alive: a client in a cycle would wait for the collector.

    Each client has threads, sockets and one of the 1 024 keys that a process may have for data of threads.
    """
    weak = WeakMethod(method)

    def call(*arguments: Any) -> None:
        if (alive := weak()) is not None:
            alive(*arguments)

    return call


def cannot_begin(topic: str, partition: int, offset: int, why: str) -> str:
    """That and why a partition cannot be read from an offset, and what to do."""
    return (
        f'could not read topic "{topic}" partition {partition} from offset {offset}: {why}; '
        "to begin at the oldest record delete the recovery store of the flow, and check the topic's retention"
    )
