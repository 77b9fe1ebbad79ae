"""The local stack: real servers, reached through the addresses that it gives."""

import socket
from pathlib import Path
from uuid import UUID

import pytest

from assets.connection import KafkaConnection
from deploy import kafka as kafka_server
from deploy import nats as nats_server
from deploy.stack import START_TIMEOUT_S, External, Stack, StackError
from deploy.wait import until
from sinks.kafka import TopicSpec, ensure_topics, put_table
from sources.kafka import read_table


def test_both_servers_answer(stack: Stack) -> None:
    assert kafka_server.answers(stack.kafka_bootstrap)
    assert nats_server.answers(stack.nats_url)


def test_no_port_is_one_that_a_stack_at_a_terminal_prefers(stack: Stack) -> None:
    ports = {service.port for service in stack.services.values()}
    assert ports.isdisjoint({kafka_server.PREFERRED_PORT, nats_server.PREFERRED_PORT})


def test_a_second_stack_on_the_same_folder_is_refused(stack: Stack) -> None:
    with pytest.raises(StackError, match="another one is running on it"):
        Stack(stack.data).start()
    assert kafka_server.answers(stack.kafka_bootstrap)


def test_a_taken_port_is_stepped_around(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with Stack(tmp_path, External("broker.example:9092"), preferred_ports={"nats": taken}) as stack:
            assert stack.services["nats"].port != taken
            assert nats_server.answers(stack.nats_url)


@pytest.mark.slow
def test_a_killed_broker_answers_again_with_what_it_had(tmp_path: Path) -> None:
    with Stack(tmp_path, External(nats_url="nats://nats.example:4222")) as stack:
        connection = KafkaConnection(bootstrap=stack.kafka_bootstrap)
        ensure_topics(connection, [TopicSpec(name="views", partitions=1)])
        put_table(connection, "views", b"derive", b"1")
        stack.services["kafka"].kill()
        stack.services["kafka"].start()
        until(stack.services["kafka"].ready, START_TIMEOUT_S, "an answer of the broker")
        assert read_table(connection, "views") == {b"derive": b"1"}


def test_existing_servers_are_used_and_none_are_started(tmp_path: Path) -> None:
    with Stack(tmp_path, External("broker.example:9092", "nats://nats.example:4222")) as stack:
        assert not stack.services
        assert stack.environment == {"KAFKA_BOOTSTRAP": "broker.example:9092", "NATS_URL": "nats://nats.example:4222"}


def test_a_cluster_id_never_looks_like_an_option() -> None:
    ids = iter([UUID(bytes=b"\xf8" + 15 * b"\0"), UUID(bytes=b"\xfb" + 15 * b"\0"), UUID(bytes=b"\xfc" + 15 * b"\0")])
    assert kafka_server.new_cluster_id(lambda: next(ids)) == "_" + 21 * "A"
