"""Session fixtures: one throw-away stack with a real Kafka broker and a real nats-server for all tests that ask."""

import shutil
import uuid
from collections.abc import Callable, Iterator

import hypothesis  # noqa: F401 - its plugin imports it at the end, amid the garbage of the tests: Python 3.11 may fail
import pytest

from deploy.stack import Stack

pytest_plugins = ["tests.logs"]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack of its own on free ports; never the servers of the environment, whose data are not ours."""
    folder = tmp_path_factory.mktemp("stack")
    with Stack(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka(stack: Stack) -> str:
    """The bootstrap address of a real broker."""
    return stack.kafka_bootstrap


@pytest.fixture(scope="session")
def nats_url(stack: Stack) -> str:
    """The address of a real nats-server with JetStream."""
    return stack.nats_url


@pytest.fixture
def unique() -> Callable[[str], str]:
    """A name that no other test has used: `unique("asset-stream")` is `asset-stream-1f3a9c0b`."""
    return lambda name: f"{name}-{uuid.uuid4().hex[:8]}"
