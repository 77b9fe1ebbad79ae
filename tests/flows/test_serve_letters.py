"""Dead letters of `serve` when NATS loses its store: the stream is read again, and no letter is written twice."""

import asyncio
from pathlib import Path

import pytest

from assets.connection import NatsConnection
from assets.stream import DEAD_LETTERS
from deploy.processes import Flow
from deploy.stack import Stack
from deploy.wait import until
from sinks.nats import delete_stream, find_last_values
from tests.flows.bench import Bench

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

PATIENCE_S = 60
ASSETS = [f"press-{n:02}" for n in range(1, 9)]


@pytest.fixture(scope="module")
def bench(servers: Stack, data: Path) -> Bench:
    """A stream with a record in each partition that nobody can use."""
    made = Bench(servers, data, ASSETS)
    made.define()
    return made


def poison(bench: Bench) -> None:
    """One record in each partition that nobody can use, between others."""
    bench.write(2)
    for partition in range(12):
        bench.raw(partition, None, b"no record at all")
    bench.write(2)


def serve(bench: Bench) -> Flow:
    """Run serve until it has noted the end of the stream."""
    flow = bench.flow("serve", recovery=True).start()
    until(lambda: flow.poll() is not None or bench.finished("serve"), PATIENCE_S, "serve to finish")
    assert flow.poll() is None, flow.crash_report()
    return flow


def test_letters_are_written_once_though_the_stream_is_read_again(bench: Bench) -> None:
    nats = NatsConnection.from_environment(bench.environment)
    poison(bench)
    assert serve(bench).stop() == 0
    assert bench.letters() == 12
    poison(bench)
    assert serve(bench).stop() == 0
    assert bench.letters() == 24
    for n in (36, 48):
        asyncio.run(delete_stream(nats, "penstock"))
        poison(bench)
        assert serve(bench).stop() == 0
        assert bench.letters() == n
        assert len(asyncio.run(find_last_values(nats)) or {}) >= 2 * len(ASSETS)
    assert bench.ends(DEAD_LETTERS) == dict.fromkeys(range(12), 4)
