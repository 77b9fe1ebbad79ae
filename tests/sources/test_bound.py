"""Bound sources: a position that is worth nothing is given up, and so is the progress that was noted for it."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from assets.connection import KafkaConnection
from deploy.wait import until
from sinks.kafka import TopicSpec, ensure_topics
from sources._bound import Binding
from sources._partition import Stop
from sources.kafka import StreamSource, committed

pytestmark = pytest.mark.slow

RECORDS = 7


def test_a_view_that_begins_anew_shows_no_progress_of_before(kafka: str, unique: Callable[[str], str]) -> None:
    connection, topic, group = KafkaConnection(bootstrap=kafka), unique("in"), unique("view")
    ensure_topics(connection, [TopicSpec(name=topic, partitions=1)])
    producer = Producer({**connection.settings()})
    for _ in range(RECORDS):
        producer.produce(topic, b"x", None, 0)
    producer.flush()
    binding = Binding(lambda: ("store", 5))

    def part(state: Any) -> Any:
        return binding(StreamSource(connection, topic, Stop(), group=group)).build_part("in", "0000", state)

    first = part(None)
    until(lambda: first.snapshot()[0] == RECORDS or (first.next_batch() and None), 60, "the records")
    state = first.snapshot()
    assert state == (RECORDS, "store", 5)
    until(lambda: first.next_batch() or committed(connection, group, topic) == {0: RECORDS}, 60, "its progress")
    first.close()

    same = part(state)
    same.next_batch()
    assert committed(connection, group, topic) == {0: RECORDS}
    same.close()
    anew = part((RECORDS, "lost", 5))
    until(lambda: (anew.next_batch() and None) or committed(connection, group, topic) == {0: 0}, 60, "the first offset")
    anew.close()
