"""A stack of its own for the flows (their topics have fixed names), and a stream that nobody's device wrote."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.stack import Stack


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka and NATS with empty data, for one module."""
    with Stack(tmp_path_factory.mktemp("flows")) as running:
        yield running


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the flows of one module."""
    return tmp_path_factory.mktemp("data")
