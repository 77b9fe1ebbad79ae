"""What answers at Kafka's address: the id of the cluster, and its topics."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from assets.condition import Condition
from assets.connection import KafkaConnection
from assets.kafka_errors import outage
from sources._partition import Stop

log = logging.getLogger(__name__)

ASK_S = 1.0
ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Cluster:
    """A Kafka cluster: its id, which it was given when its data were made, and the partitions of each topic."""

    id: str
    partitions: Mapping[str, int]


def cluster(connection: KafkaConnection, stop: Stop | None = None) -> Cluster:
    """The cluster that a connection leads to; a flow (with `stop`) waits for its answer as long as need be."""
    condition = Condition(log, f"kafka at {connection.bootstrap}", "asking which cluster it is")
    admin = AdminClient({**connection.settings(), "log_level": 0})
    deadline = monotonic() + ANSWER_TIMEOUT_S
    found = condition.wait_for(
        lambda: admin.list_topics(timeout=ASK_S),
        _outage,
        lambda: stop.requested if stop else monotonic() > deadline,
    )
    return Cluster(str(found.cluster_id), {name: len(topic.partitions) for name, topic in found.topics.items()})


def _outage(failure: Exception) -> str | None:
    if not isinstance(failure, KafkaException):
        return None
    return outage(failure.args[0].name(), failure.args[0].str())
