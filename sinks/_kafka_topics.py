"""The topics of the pipeline and their settings: what the stream's promises ask of Kafka."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from assets.condition import Condition, Refused, Unavailable
from assets.connection import KafkaConnection
from assets.stream import ASSET_STREAM, DEAD_LETTERS, VIEWS, state_topic
from sinks._kafka import ANSWER_TIMEOUT_S, ASK_S, RECORD_BYTES_MAX, log, outage, shared_producer
from sinks._wait import Stopping

DEFAULT_PARTITIONS: Final = 12
REPLICATED_BROKERS_MIN: Final = 3

FOREVER: Final[Mapping[str, str]] = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
    "compression.type": "producer",
}
"""Nothing expires, and the time of a record is the one clock that all gateways share."""
COMPACTED: Final[Mapping[str, str]] = {"cleanup.policy": "compact", "compression.type": "producer"}


@dataclass(frozen=True, kw_only=True)
class TopicSpec:
    """A topic as it is made where it is missing; `like` names a topic whose number of partitions it takes."""

    name: str
    partitions: int = DEFAULT_PARTITIONS
    like: str | None = None
    settings: Mapping[str, str] = field(default_factory=lambda: FOREVER)


def stream_topics(generation: int, partitions: int = DEFAULT_PARTITIONS) -> list[TopicSpec]:
    """The topics of the pipeline, with the derived events of one generation."""
    large = {**FOREVER, "max.message.bytes": str(RECORD_BYTES_MAX)}
    return [
        TopicSpec(name=ASSET_STREAM, partitions=partitions),
        TopicSpec(name=state_topic(generation), partitions=partitions, like=ASSET_STREAM),
        TopicSpec(name=DEAD_LETTERS, partitions=partitions, like=ASSET_STREAM, settings=large),
        TopicSpec(name=VIEWS, partitions=1, settings=COMPACTED),
    ]


def ensure_topics(connection: KafkaConnection, specs: Sequence[TopicSpec], stop: Stopping | None = None) -> None:
    """Make the topics that are missing; those that exist stay as they are. With `stop` an outage is waited for."""
    condition = Condition(log, f"kafka at {connection.bootstrap}", "making topics")
    admin = AdminClient({**connection.settings(), "log_level": 0})
    tries = iter(range(int(ANSWER_TIMEOUT_S)))
    condition.wait_for(
        lambda: _make_missing(admin, specs),
        outage,
        lambda: stop.requested if stop else next(tries, None) is None,
    )


def put_table(
    connection: KafkaConnection, topic: str, key: bytes, value: bytes | None, stop: Stopping | None = None
) -> None:
    """Set (or, with None, remove) the value of a key in a compacted topic; returns when Kafka has it.

    With `stop` an outage is waited for.
    """
    producer = shared_producer(connection)
    reports: dict[KafkaError | None, object] = {}
    producer.produce(topic, value, key, on_delivery=reports.__setitem__)
    if stop is None:
        producer.drain_within(ANSWER_TIMEOUT_S)
    else:
        producer.drain(stop)
    if None not in reports:
        why = next((error.str() for error in reports if error), f"no answer within {ANSWER_TIMEOUT_S:g} s")
        raise Unavailable(f'could not write to topic "{topic}" at kafka at {connection.bootstrap}: {why}')


def _make_missing(admin: AdminClient, specs: Sequence[TopicSpec]) -> None:
    found = admin.list_topics(timeout=ASK_S)
    counts = {name: len(topic.partitions) for name, topic in found.topics.items()}
    replicas, in_sync = (3, "2") if len(found.brokers) >= REPLICATED_BROKERS_MIN else (1, "1")
    missing = []
    for spec in specs:
        if spec.name in counts:
            continue
        counts[spec.name] = counts.get(spec.like or "", spec.partitions)
        settings = {**spec.settings, "min.insync.replicas": in_sync}
        missing.append(NewTopic(spec.name, counts[spec.name], replicas, config=settings))
    if missing:
        for name, made in admin.create_topics(missing, operation_timeout=ANSWER_TIMEOUT_S).items():
            _check_made(name, made)
        _await_leaders(admin, {topic.topic for topic in missing})


def _check_made(name: str, made: Future[None]) -> None:
    try:
        made.result()
    except KafkaException as failure:
        if outage(failure) is not None:
            raise
        error = failure.args[0]
        if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another flow that starts now was faster
            raise Refused(f'could not make topic "{name}": {error.str()} ({error.name()})') from None


def _await_leaders(admin: AdminClient, names: set[str]) -> None:
    """Brokers learn of a new topic a moment after the controller has made it."""
    deadline = monotonic() + ANSWER_TIMEOUT_S
    while monotonic() < deadline:
        topics = admin.list_topics(timeout=ASK_S).topics
        if all(name in topics and all(p.leader >= 0 for p in topics[name].partitions.values()) for name in names):
            return
    raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, "new topics have no leader yet"))


def delete_topic(connection: KafkaConnection, name: str) -> None:
    """Delete a topic with all its records and wait until no broker knows it; one that is missing is no error."""
    admin = AdminClient({**connection.settings(), "log_level": 0})
    server = f"kafka at {connection.bootstrap}"
    try:
        admin.delete_topics([name], operation_timeout=ANSWER_TIMEOUT_S)[name].result()
        deadline = monotonic() + ANSWER_TIMEOUT_S
        while name in admin.list_topics(timeout=ASK_S).topics:
            if monotonic() > deadline:
                why = f"{server} still has it after {ANSWER_TIMEOUT_S:g} s"
                raise Unavailable(f'could not delete topic "{name}": {why}')
    except KafkaException as failure:
        error = failure.args[0]
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return
        kind = Unavailable if outage(failure) is not None else Refused
        raise kind(f'could not delete topic "{name}" at {server}: {error.str()} ({error.name()})') from None
