"""The settings of a topic as Kafka has them; sources/kafka.py judges them."""

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from assets.condition import Unavailable
from assets.connection import KafkaConnection
from sources._kafka_questions import ANSWER_TIMEOUT_S


def topic_settings(connection: KafkaConnection, topic: str) -> dict[str, str]:
    """The settings in force of a topic."""
    admin = AdminClient({**connection.settings(), "log_level": 0})
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    try:
        found = admin.describe_configs([resource], request_timeout=ANSWER_TIMEOUT_S)[resource].result()
    except KafkaException as failure:
        server, why = f"kafka at {connection.bootstrap}", failure.args[0].str()
        raise Unavailable(f'could not read the settings of topic "{topic}" at {server}: {why}') from None
    return {name: str(entry.value) for name, entry in found.items()}
