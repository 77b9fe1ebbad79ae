"""Public names of the stream, and the partitioner that every client must agree on."""

from collections.abc import Callable

import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from assets.stream import murmur2, observation_subject, own_partitions, partition_of, state_subject, state_topic

# org.apache.kafka.common.utils.UtilsTest.testMurmur2, and "abc"
JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), JAVA.items())
def test_murmur2_is_that_of_the_java_client(key: str, signed: int) -> None:
    assert murmur2(key.encode()) == signed % 2**32


@pytest.mark.slow
def test_a_real_producer_puts_an_asset_where_we_expect_it(kafka: str, unique: Callable[[str], str]) -> None:
    topic, partitions = unique("partitions"), 12
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    found: dict[str, int | None] = {}

    def delivered(error: object, message: Message) -> None:
        key = message.key()
        assert error is None
        assert isinstance(key, bytes)
        found[key.decode()] = message.partition()

    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2"})
    assets = [f"press-{n:02}" for n in range(100)] + list(JAVA) + ["ö", "a", "ab"]
    for asset in assets:
        producer.produce(topic, key=asset.encode(), value=b"", on_delivery=delivered)
    assert producer.flush(30) == 0
    assert found == {asset: partition_of(asset, partitions) for asset in assets}


def test_a_partition_lies_in_its_range() -> None:
    assert {partition_of(f"asset-{n}", 12) for n in range(1000)} == set(range(12))


def test_copies_own_every_partition_exactly_once() -> None:
    assert own_partitions(5) == [0, 1, 2, 3, 4]
    assert own_partitions(5, "1/3") == [1, 4]
    assert sorted(p for i in range(5) for p in own_partitions(12, f"{i}/5")) == list(range(12))


def test_subjects_follow_the_path() -> None:
    path = "acme/hamburg/forming/line-1"
    assert observation_subject(path, "press-01", "power") == "assets.acme.hamburg.forming.line-1.press-01.power"
    assert state_subject(path, "press-01", "running") == "state.acme.hamburg.forming.line-1.press-01.running"


def test_a_generation_has_its_own_topic() -> None:
    assert state_topic(3) == "asset-state.g3"
