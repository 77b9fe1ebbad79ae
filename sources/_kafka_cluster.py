"""What answers at Kafka's address: the id of the cluster, and its topics."""

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from assets.condition import Unavailable
from assets.connection import KafkaConnection

ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Cluster:
    """A Kafka cluster: its id, which it was given when its data were made, and the partitions of each topic."""

    id: str
    partitions: Mapping[str, int]


def cluster(connection: KafkaConnection) -> Cluster:
    """The cluster that a connection leads to."""
    admin = AdminClient({**connection.settings(), "log_level": 0})
    try:
        found = admin.list_topics(timeout=ANSWER_TIMEOUT_S)
    except KafkaException as failure:
        server, why = f"kafka at {connection.bootstrap}", failure.args[0].str()
        raise Unavailable(f"could not ask for the topics of {server}: {why}") from None
    return Cluster(str(found.cluster_id), {name: len(topic.partitions) for name, topic in found.topics.items()})
