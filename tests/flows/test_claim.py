"""One writer per view, as processes: a second is refused, one that is replaced ends, no other cluster is written to."""

import shutil
from pathlib import Path

import msgspec
import pytest

from assets.stream import ASSET_STREAM, VIEWS, state_topic
from deploy.kafka import Kafka
from deploy.stack import Stack
from deploy.wait import until
from sinks._claim import Writer
from sinks.kafka import put_table
from sources.kafka import cluster, read_table, watermarks
from tests.flows.bench import Bench

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

PATIENCE_S = 90
ASSETS = [f"press-{n:02}" for n in range(1, 9)]


@pytest.fixture(scope="module")
def bench(servers: Stack, data: Path) -> Bench:
    made = Bench(servers, data, ASSETS)
    made.define()
    made.write(5)
    return made


def test_a_second_derive_is_refused_and_one_that_is_replaced_ends_at_once(bench: Bench) -> None:
    first = bench.flow("derive", recovery=True).start()
    try:
        until(lambda: first.poll() is not None or bench.finished("derive"), PATIENCE_S, "derive to finish")
        second = bench.flow("derive", recovery=False)
        second.log_path = bench.data / "logs" / "second.log"
        assert second.start().wait(PATIENCE_S) == 2
        assert f'could not begin to write view "derive.g1": process {first.pid} on ' in second.log_path.read_text()
        assert first.running, first.crash_report()
        claim = Writer("other", "elsewhere/boot", 1, 1, 1)
        put_table(bench.kafka, VIEWS, b"writer.derive.g1.0/1", msgspec.json.encode(claim))
        assert first.wait(PATIENCE_S) == 2
        assert "process 1 on elsewhere since 1970-01-01T00:00:00Z has taken it over" in first.last_lines()
    finally:
        if first.running:
            first.kill()
    events = len(bench.events())
    third = bench.flow("derive", recovery=True).start()
    bench.write(5)
    until(lambda: third.poll() is not None or bench.finished("derive"), PATIENCE_S, "derive to finish")
    assert third.stop(30) == 0, third.last_lines()
    ids = [event.id for event in bench.events()]
    assert len(ids) == len(set(ids)) > events


def holder(bench: Bench, key: bytes) -> int:
    """The process that has claimed a view."""
    claim = read_table(bench.kafka, VIEWS).get(key)
    return 0 if claim is None else msgspec.json.decode(claim, type=Writer).pid


@pytest.mark.parametrize("view", ["derive", "serve"])
def test_a_cluster_that_was_replaced_behind_a_reconnect_is_not_written(bench: Bench, view: str) -> None:
    flow = bench.flow(view, recovery=False).start()
    try:
        key = f"writer.{view}.g1.0/1".encode()
        until(lambda: flow.poll() is not None or holder(bench, key) == flow.pid, PATIENCE_S, "the claim")
        broker = bench.servers.services["kafka"]
        assert isinstance(broker, Kafka)
        before = cluster(bench.kafka).id
        broker.kill()
        shutil.rmtree(broker.data)
        broker.start()
        until(broker.ready, PATIENCE_S, "the new broker")
        assert flow.wait(PATIENCE_S) in (1, 2), flow.last_lines()
        now = cluster(bench.kafka)
        assert f'is now Kafka cluster "{now.id}", it was "{before}"; check KAFKA_BOOTSTRAP' in flow.last_lines(40)
    finally:
        if flow.running:
            flow.kill()
    fresh = Bench(bench.servers, bench.data, ASSETS)
    assert sum(high for _, high in watermarks(fresh.kafka, state_topic(1)).values()) == 0
    assert sum(high for _, high in watermarks(fresh.kafka, ASSET_STREAM).values()) == 0
    fresh.define()
    fresh.write(5)
