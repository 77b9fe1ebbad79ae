"""Many clients of one broker that is stopped again and again: librdkafka loses one in fifty at each stop for ever."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from assets.connection import KafkaConnection
from deploy.kafka import Kafka
from deploy.paths import jars_folder
from deploy.wait import until
from sinks.kafka import TopicSpec, ensure_topics
from sources._kafka import Feed
from tests.forms import LONG

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

PATIENCE_S = 180
TOPICS = ("one", "two")
FEEDS = 24
STOPS = 12 if LONG else 4


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Kafka]:
    """A broker that nobody else uses."""
    kafka = Kafka(tmp_path / "kafka", jars_folder(), say=lambda _: None).start()
    try:
        until(kafka.ready, PATIENCE_S, "kafka")
        yield kafka
    finally:
        if kafka.running:
            kafka.kill()


class Reading:
    """What one feed has brought."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self.topic = topic
        self.next = 0
        self._feed = Feed(connection, topic)
        self._feed.open(0, 0, None)

    def read(self) -> None:
        while batch := self._feed.take(0):
            assert batch.first == self.next
            assert batch.offsets == list(range(batch.first, batch.next))
            self.next = batch.next

    def close(self) -> None:
        self._feed.close()


def test_every_feed_goes_on_seamlessly_after_each_stop_of_its_broker(broker: Kafka) -> None:
    connection = KafkaConnection(bootstrap=broker.address)
    ensure_topics(connection, [TopicSpec(name=topic, partitions=1) for topic in TOPICS])
    readings = [Reading(connection, TOPICS[n % 2]) for n in range(FEEDS)]

    def all_have(count: int) -> bool:
        for reading in readings:
            reading.read()
        return all(reading.next == count for reading in readings)

    for count in range(1, STOPS + 2):
        producer = Producer({**connection.settings(), "log_level": 0})
        for topic in TOPICS:
            producer.produce(topic, b"x", partition=0)
        assert producer.flush(PATIENCE_S) == 0
        until(lambda count=count: all_have(count), PATIENCE_S, "all feeds", every_s=0.05)  # type: ignore[misc]
        if count <= STOPS:
            broker.stop()
            broker.start()
            until(broker.ready, PATIENCE_S, "kafka")
    for reading in readings:
        reading.close()
