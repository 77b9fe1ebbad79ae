"""Streams of live values on a nats-server that all share, and a server of one's own, to be killed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assets.connection import NatsConnection
from deploy.nats import Nats
from deploy.wait import until
from tests.sinks.live_rig import Rig


@pytest.fixture
def connection(nats_url: str) -> NatsConnection:
    return NatsConnection(url=nats_url)


@pytest.fixture
def rig(connection: NatsConnection, unique: Callable[[str], str]) -> Rig:
    return Rig(connection, unique("live"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Nats]:
    """A nats-server of our own, to be killed."""
    nats = Nats(tmp_path / "nats", preferred_port=0)
    nats.start()
    until(nats.ready, 60, "nats-server")
    yield nats
    nats.stop()
