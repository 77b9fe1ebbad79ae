"""When the newest record of a topic came: asked of Kafka itself, because records need not be read for it."""

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from assets.condition import Unavailable
from assets.connection import KafkaConnection

ANSWER_TIMEOUT_S = 10.0


def newest_us(connection: KafkaConnection, topic: str, partitions: int) -> int:
    """Kafka's clock (us) at the newest record of a topic; 0: it has none."""
    admin = AdminClient({**connection.settings(), "log_level": 0})
    newest = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topic, p): newest for p in range(partitions)}
    try:
        found = [
            int(f.result().timestamp) for f in admin.list_offsets(asked, request_timeout=ANSWER_TIMEOUT_S).values()
        ]
    except KafkaException as failure:
        server, why = f"kafka at {connection.bootstrap}", failure.args[0].str()
        raise Unavailable(f'could not ask when topic "{topic}" was written last at {server}: {why}') from None
    return 1_000 * max([0, *found])
