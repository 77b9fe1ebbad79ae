"""The flows as they are run: real servers, with and without recovery, clean stops, refusals."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from assets.stream import ASSET_STREAM, partition_of, state_topic
from deploy.processes import Flow
from deploy.stack import Stack
from deploy.wait import until
from flows._site import View
from sources.kafka import read_range
from tests.flows.bench import Bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ASSETS = [f"press-{n:02}" for n in range(1, 7)]
VIEWS: tuple[View, ...] = ("derive", "serve", "archive")


@pytest.fixture(scope="module")
def bench(servers: Stack, data: Path) -> Bench:
    """A stream of six assets."""
    made = Bench(servers, data, ASSETS)
    made.define()
    return made


@pytest.mark.parametrize("recovery", [True, False], ids=["recovery", "no-recovery"])
@pytest.mark.parametrize("name", VIEWS)
def test_a_view_follows_the_stream_and_stops_cleanly(bench: Bench, name: View, recovery: bool) -> None:
    bench.write(5)
    with_stop = bench.flow(name, recovery=recovery).start()
    try:
        until(lambda: with_stop.poll() is not None or bench.finished(name), 60, f"{name} to finish the stream")
        assert with_stop.running, with_stop.crash_report()
        assert with_stop.stop(20) == 0, with_stop.last_lines()
    finally:
        if with_stop.running:
            with_stop.kill()


def kill_after(bench: Bench, more_events: int) -> None:
    """Run derive under load and kill it as soon as it has written so many more events."""
    begin = sum(bench.ends(state_topic(1)).values())
    flow = bench.flow("derive", recovery=True).start()
    bench.write(20)
    end = begin + more_events
    until(lambda: sum(bench.ends(state_topic(1)).values()) >= end or flow.poll() is not None, 60, "derive to write")
    assert flow.running, flow.last_lines()
    flow.kill()


@pytest.mark.faults
def test_derive_killed_again_and_again_writes_every_event_once(bench: Bench) -> None:
    for more_events in (1, 15, 40):
        kill_after(bench, more_events)
    flow = bench.flow("derive", recovery=True).start()
    until(lambda: flow.poll() is not None or bench.finished("derive"), 60, "derive to finish")
    assert flow.stop(20) == 0, flow.last_lines()
    ids = [event.id for event in bench.events()]
    assert len(ids) == len(set(ids)) > 100
    newest: dict[tuple[str, str], int] = {}
    for event in bench.events():
        assert event.time >= newest.get((event.asset, event.metric), 0)
        newest[event.asset, event.metric] = event.time


def test_without_its_recovery_store_derive_writes_nothing_again(bench: Bench) -> None:
    before = bench.events()
    flow = Flow(
        "derive", bench.environment, bench.data / "logs" / "derive.log", bench.data / "recovery" / "anew"
    ).start()
    bench.write(6)
    until(lambda: flow.poll() is not None or bench.finished("derive"), 60, "derive to finish")
    assert flow.stop(20) == 0, flow.last_lines()
    after = bench.events()
    ids = [event.id for event in after]
    assert len(ids) == len(set(ids)) > len(before)


def test_a_flow_with_a_wrong_plant_says_all_and_starts_nothing(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "a.yaml").write_text("sources:\n  x: {protocol: opcua}\nassets:\n  a: {type: nothing}\n")
    environment = {**bench.environment, "PENSTOCK_PLANT": str(tmp_path / "plant")}
    before = bench.ends(ASSET_STREAM)
    flow = Flow("ingest", environment, tmp_path / "ingest.log").start()
    assert flow.wait(60) == 2
    log = (tmp_path / "ingest.log").read_text()
    assert "a.yaml:2 sources.x.endpoint: is required" in log
    assert 'a.yaml:4 assets.a.type: is "nothing"' in log
    assert "a.yaml:4 assets.a.path: is required" in log
    assert "Traceback" not in log
    assert bench.ends(ASSET_STREAM) == before


def test_an_unreachable_broker_is_one_line_and_a_stop_is_heard(tmp_path: Path) -> None:
    environment = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "PENSTOCK_DATA": str(tmp_path)}
    flow = Flow("derive", environment, tmp_path / "derive.log").start()
    until(lambda: "is unreachable" in flow.last_lines() or flow.poll() is not None, 60, "the line")
    flow.signal(signal.SIGTERM)
    assert flow.wait(20) == 1
    lines = [line for line in (tmp_path / "derive.log").read_text().splitlines() if "is unreachable" in line]
    assert len(lines) == 1
    assert "kafka at 127.0.0.1:1" in lines[0]


def facts(bench: Bench, asset: str, begin: dict[int, int], item: str) -> list[tuple[Any, Any]]:
    """(frame, observation) of one item of an asset, from where the stream began."""
    home = partition_of(asset, 12)
    bounds = {home: (begin[home], bench.ends(ASSET_STREAM)[home])}
    values = [v for batch in read_range(bench.kafka, ASSET_STREAM, bounds) for v in batch.values if v]
    frames = [json.loads(v) for v in values if f'"asset":"{asset}"'.encode() in v]
    return [(f, o) for f in frames for o in f["observations"] if o[0] == item]


PLANT = """
sources:
  meter: {{protocol: modbus, endpoint: "tcp://127.0.0.1:9", unit: 1}}
types:
  meter: {{items: {{power: {{address: "input:0 uint16"}}}}}}
assets:
  meter-{{{range}}}: {{type: meter, path: acme/hamburg/utilities/hall-1, source: meter}}
"""


def run_ingest(bench: Bench, environment: dict[str, str], log: Path, begin: dict[int, int], runs: int) -> None:
    """Run ingest until so many of its runs have told of an asset."""
    flow = Flow("ingest", environment, log).start()

    def told() -> bool:
        return len({f["run"] for f, _ in facts(bench, "meter-71", begin, "_model")}) >= runs

    until(lambda: flow.poll() is not None or told(), 60, "the assets to be told of")
    assert flow.stop(30) == 0, flow.last_lines()


def test_an_asset_that_leaves_the_plant_is_removed_once(bench: Bench, tmp_path: Path) -> None:
    begin = bench.ends(ASSET_STREAM)
    (tmp_path / "plant").mkdir()
    environment = {
        **bench.environment,
        "PENSTOCK_PLANT": str(tmp_path / "plant"),
        "PENSTOCK_GATEWAY": "gw-removes",
        "PENSTOCK_DATA": str(tmp_path),
    }
    for runs, plant in enumerate(("71..73", "71..72", "71..72"), start=1):
        (tmp_path / "plant" / "plant.yaml").write_text(PLANT.format(range=plant))
        run_ingest(bench, environment, tmp_path / "ingest.log", begin, runs)
    removed = {n: len(facts(bench, f"meter-{n}", begin, "_removed")) for n in (71, 72, 73)}
    assert removed == {71: 0, 72: 0, 73: 1}


def test_unreachable_devices_are_one_line_each_and_the_rest_runs(bench: Bench, tmp_path: Path) -> None:
    plant = tmp_path / "plant"
    plant.mkdir()
    (plant / "plant.yaml").write_text(
        """
sources:
  gone-ua: {protocol: opcua, endpoint: "opc.tcp://127.0.0.1:9", security: none}
  gone-mb: {protocol: modbus, endpoint: "tcp://127.0.0.1:9", unit: 1}
types:
  press: {items: {temperature: {category: SAMPLE}, power: {category: SAMPLE}}}
assets:
  press-91:
    type: press
    path: acme/hamburg/forming/line-1
    source: gone-ua
    items: {temperature: {address: "i=2258"}, power: {source: gone-mb, address: "input:0 uint16"}}
"""
    )
    environment = {**bench.environment, "PENSTOCK_PLANT": str(plant)}
    begin = bench.ends(ASSET_STREAM)
    flow = Flow("ingest", environment, tmp_path / "ingest.log").start()

    def told() -> list[tuple[str, object]]:
        return [(f["source"], o[1]) for f, o in facts(bench, "press-91", begin, "_availability")]

    lost = {("gone-ua", "UNAVAILABLE"), ("gone-mb", "UNAVAILABLE")}
    until(lambda: flow.poll() is not None or lost <= set(told()), 60, "both to be said unavailable")
    assert flow.stop(30) == 0, flow.last_lines()
    log = (tmp_path / "ingest.log").read_text()
    for name in ("gone-ua", "gone-mb"):
        lines = [line for line in log.splitlines() if f'"{name}"' in line]
        assert len(lines) == 1, lines
        assert "127.0.0.1:9" in lines[0]


def test_the_logs_name_no_defect(bench: Bench) -> None:
    for log in (bench.data / "logs").glob("*.log"):
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
