"""The errors of Kafka that are waited out: their names are those of the client library."""

import pytest
from confluent_kafka import KafkaError

from assets.kafka_errors import AWAY, MOMENTARY, outage


@pytest.mark.parametrize("name", sorted(AWAY | MOMENTARY))
def test_the_client_library_calls_the_error_so(name: str) -> None:
    assert KafkaError(getattr(KafkaError, name)).name() == name


def test_an_outage_has_a_cause_a_moment_has_none_and_a_defect_is_neither() -> None:
    assert outage("_TRANSPORT", "connection refused") == "connection refused"
    assert outage("LEADER_NOT_AVAILABLE", "no leader") == ""
    assert outage("TOPIC_AUTHORIZATION_FAILED", "not allowed") is None
