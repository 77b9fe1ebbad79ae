"""A stack and a stream of its own for each module of faults, and the moments by seed."""

import random
from collections.abc import Iterator

import pytest

from deploy.ports import free_port
from deploy.stack import Stack
from tests.faults.rig import Rig
from tests.forms import SEEDS


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka and NATS on ports that nobody else wants while they are down."""
    first = free_port()
    ports = {"kafka": first, "nats": free_port(taken=frozenset({first}))}
    with Stack(tmp_path_factory.mktemp("servers"), preferred_ports=ports) as running:
        yield running


@pytest.fixture(scope="module")
def shared(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """The rig of a module: its stream goes on from test to test."""
    return Rig(stack, tmp_path_factory.mktemp("data"))


@pytest.fixture
def rig(shared: Rig) -> Iterator[Rig]:
    """The rig; whatever a test leaves running is ended."""
    yield shared
    shared.end()


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed-{seed}")
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Where the moments come from."""
    return random.Random(request.param)
