"""`serve` in copies: from 1 to 3 to 2 under load, with kills and lost stores, NATS holds the fold of the stream."""

import asyncio
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from assets.connection import NatsConnection
from assets.newest import Newest
from assets.stream import ASSET_STREAM, state_topic
from deploy.nats import Nats
from deploy.processes import Flow
from deploy.stack import Stack
from deploy.wait import until
from operators.decode import FrameDecoder, decode_events
from operators.live_values import LiveValues
from sinks.nats import delete_stream, find_last_values
from sources.kafka import read_range, watermarks
from tests.flows.bench import Bench

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

SEEDS: Final = range(int(os.environ.get("PENSTOCK_SEEDS", "2")))
PATIENCE_S: Final = 90
ASSETS: Final = [f"press-{n:02}" for n in range(40)]


@pytest.fixture(scope="module")
def bench(servers: Stack, data: Path) -> Iterator[Bench]:
    """A stream of forty assets; derive runs beside."""
    made = Bench(servers, data, ASSETS)
    made.define()
    derive = made.flow("derive", recovery=True).start()
    yield made
    derive.stop()


def fold(bench: Bench) -> dict[str, bytes]:
    """What NATS must hold: all of both topics in one piece."""
    decode = FrameDecoder(12)
    operators = {partition: LiveValues() for partition in range(12)}
    folds = {partition: Newest() for partition in range(12)}
    for raw in read_range(bench.kafka, ASSET_STREAM, watermarks(bench.kafka, ASSET_STREAM)):
        folds[raw.partition].take(operators[raw.partition].batch(decode(raw)[0]))
    for raw in read_range(bench.kafka, state_topic(1), watermarks(bench.kafka, state_topic(1))):
        folds[raw.partition].take(operators[raw.partition].derived(decode_events(raw)[0]))
    return {subject: value.payload for fold in folds.values() for subject, value in fold.values.items()}


def held(bench: Bench) -> dict[str, bytes]:
    """What NATS holds."""
    return asyncio.run(find_last_values(NatsConnection.from_environment(bench.environment))) or {}


def proved(bench: Bench, flows: list[Flow]) -> None:
    """All flows run, and NATS comes to hold the fold of the whole stream."""
    until(lambda: bench.finished("derive"), PATIENCE_S, "derive to finish")
    expected = fold(bench)
    until(lambda: ended(flows) or held(bench) == expected, PATIENCE_S, "the fold of the stream", every_s=0.5)
    assert not ended(flows), ended(flows)
    assert len(expected) > 3 * len(ASSETS)


def ended(flows: list[Flow]) -> list[str]:
    """What those said that ended by themselves."""
    return [flow.crash_report() for flow in flows if flow.poll() is not None]


def copies(bench: Bench, count: int) -> list[Flow]:
    """So many copies, running."""
    return [bench.flow("serve", recovery=True, copy=f"{i}/{count}").start() for i in range(count)]


def stop(flows: list[Flow]) -> None:
    """A clean stop of all."""
    assert [flow.stop(30) for flow in flows] == [0] * len(flows), [flow.last_lines() for flow in flows]


def test_from_one_to_three_to_two_copies_nothing_is_lost(bench: Bench) -> None:
    for count in (1, 3, 2):
        bench.write(4)
        flows = copies(bench, count)
        try:
            bench.write(4)
            proved(bench, flows)
        finally:
            stop(flows)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["none", "killed", "deleted", "wiped"])
def test_a_copy_killed_at_any_moment_and_a_store_lost_meanwhile_end_with_the_fold(
    bench: Bench, seed: int, loss: str
) -> None:
    chance = random.Random(f"{seed} {loss}")
    flows = copies(bench, 3)
    try:
        for _ in range(2):
            bench.write(3)
            victim = chance.randrange(3)
            with pytest.raises(TimeoutError):
                flows[victim].wait(chance.uniform(0.5, 4.0))
            flows[victim].kill()
            lose(bench, loss)
            bench.write(2)
            flows[victim] = bench.flow("serve", recovery=True, copy=f"{victim}/3").start()
        proved(bench, flows)
    finally:
        stop(flows)


def lose(bench: Bench, loss: str) -> None:
    """What happens to the store while a copy is dead and the others go on."""
    nats = bench.servers.services["nats"]
    assert isinstance(nats, Nats)
    match loss:
        case "deleted":
            asyncio.run(delete_stream(NatsConnection.from_environment(bench.environment), "penstock"))
        case "killed" | "wiped":
            nats.kill()
            if loss == "wiped":
                shutil.rmtree(nats.data)
            nats.start()
            until(nats.ready, PATIENCE_S, "nats-server")
