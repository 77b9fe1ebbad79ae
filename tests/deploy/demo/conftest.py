"""One run of the demo plant for all tests that look at it."""

import asyncio

import pytest

from tests.deploy.demo.simulation import Run, simulate


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A bit more than the first minute of seed 1, with every fault in it."""
    return asyncio.run(simulate(tmp_path_factory.mktemp("demo")))
