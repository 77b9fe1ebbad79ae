"""Ingest on a disk that is full: it reads on, waits only if Kafka is away as well, and says each change once."""

from pathlib import Path

import pytest

from bench.soak_disk import Disk
from deploy.ports import free_port
from deploy.stack import External, Stack
from deploy.wait import until
from sinks.kafka import ensure_topics, stream_topics
from tests.flows.field import Field
from tests.flows.test_ingest import OUTAGE_CHANGES, PATIENCE_S, Outage, Plant, finish, gaps, judge, standing

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def test_a_full_disk_loses_nothing_also_while_the_broker_is_away(tmp_path: Path) -> None:
    servers = Stack(tmp_path / "broker", External(nats_url="none"), preferred_ports={"kafka": free_port()})
    with servers as stack, Field() as field, Disk(tmp_path / "ingest" / "spool") as disk:
        if disk.why_not:
            pytest.skip(f"a disk cannot be mounted here: {disk.why_not}")
        plant = Plant(stack, field, tmp_path / "ingest", "gw-1")
        ensure_topics(plant.kafka, stream_topics(1))
        flow = plant.start()
        plant.reading(flow)
        connected = len(field.written)
        disk.fill()
        until(lambda: "the disk is full" in flow.last_lines() or not flow.running, PATIENCE_S, "the disk to be full")
        plant.reading(flow)
        outage = Outage(plant, "frozen")
        plant.changes(OUTAGE_CHANGES, flow)
        outage.end()
        plant.reading(flow)
        disk.empty()
        until(lambda: "there is space" in flow.last_lines() or not flow.running, PATIENCE_S, "space")
        plant.changes(50, flow)
        written = field.rest()[connected:]
        finish(plant, flow, written)
        seen = judge(plant, written)
        assert gaps(seen, "the gateway was not running") == []
        assert {w[:3] for w in written} - standing(seen) == set()
        log = plant.log.read_text()
        assert [log.count(words) for words in ("the disk is full", "there is space", "Traceback")] == [1, 1, 0], log
