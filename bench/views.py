"""What views cost: speed of each live and rebuilt, memory, stalls of snapshots, restarts after a kill, idle flows."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer

from assets.batch import Batch
from assets.connection import KafkaConnection
from assets.frame import Frame, Observation, decode_event, encode_frame
from assets.stream import ASSET_STREAM, partition_of, state_topic
from bench.load import DEFINITION, START_US, Load, frames, write
from deploy.processes import Flow
from deploy.wait import until
from flows._site import Site, View, progress_group
from operators._assets import Assets
from operators.rules import Rules
from replay.rebuild import rebuild
from sinks.kafka import ensure_topics, stream_topics
from sources.kafka import committed, read_range, watermarks

VIEWS: Final[tuple[View, ...]] = ("derive", "serve", "archive")
TIMEOUT_S: Final = 300.0
IDLE_S: Final = 5.0
PARTITIONS: Final = 12
Figures = dict[str, Any]


def view_figures(site: Site, environment: Mapping[str, str], scale: float, say: Callable[[str], None]) -> Figures:
    """All of the above on one stream of 5 000 assets, frames of 10, 5 million observations."""
    load = Load(5_000, int(500_000 * scale), 10)
    ensure_topics(site.kafka, stream_topics(1))
    say(f"writing {load.frames:,} frames: {load.name}")
    records = write(load, site.kafka.bootstrap, ASSET_STREAM, PARTITIONS)
    flows = {v: Flow(v, dict(environment), site.data / f"{v}.log", site.data / "recovery" / v) for v in VIEWS}
    raw_s = _raw_decode_s(site, records)
    try:
        live = {}
        for view, flow in flows.items():
            say(f"letting {view} catch up")
            live[view] = _catch_up(site.kafka, flow, view, load, raw_s)
        idle = {view: _idle(flow) for view, flow in flows.items()}
        restart = _restart(site, flows["derive"], say)
    finally:
        for flow in flows.values():
            flow.stop()
    rebuilt = dict(_rebuilds(site, load, say))
    return {"live": live, "rebuild": rebuilt, "idle": idle, "restart": restart, "snapshot": _snapshot()}


def _raw_decode_s(site: Site, records: int) -> float:
    """Seconds in which a bare loop consumes and decodes the stream."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.raw", ASSET_STREAM, ASSET_STREAM, str(records), "decode"],
        env={**os.environ, "KAFKA_BOOTSTRAP": site.kafka.bootstrap},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds: float = json.loads(done.stdout.splitlines()[-1])["wall_s"]
    return seconds


def _catch_up(kafka: KafkaConnection, flow: Flow, view: View, load: Load, raw_s: float) -> Figures:
    """Observations per second of a live flow that reads all of the stream, and its rate against the bare loop."""
    flow.start()
    until(lambda: _done(kafka, view) > 0, TIMEOUT_S, f"the first progress of {view}")
    begin, at_begin = time.perf_counter(), _done(kafka, view)
    end = sum(high for _, high in watermarks(kafka, ASSET_STREAM).values())
    until(lambda: _done(kafka, view) >= end, TIMEOUT_S, f"{view} to catch up")
    share = (end - at_begin) / end
    seconds = max(time.perf_counter() - begin, 1e-3)
    return {
        "observations_per_s": round(load.frames * load.observations * share / seconds),
        "ratio_to_raw_decode": round(raw_s * share / seconds, 3),
    }


def _done(kafka: KafkaConnection, view: View) -> int:
    return sum(committed(kafka, progress_group(view, 1), ASSET_STREAM).values())


def _idle(flow: Flow) -> Figures:
    """Share of a core and memory of a flow that has nothing to do."""
    before, end = flow.usage(), time.perf_counter() + IDLE_S
    until(lambda: time.perf_counter() > end, IDLE_S + 1, "idle time to pass")
    after = flow.usage()
    if before is None or after is None:
        raise SystemExit(flow.crash_report())
    return {"cores": round((after.cpu_s - before.cpu_s) / IDLE_S, 3), "rss_mb": round(after.rss_bytes / 1e6, 1)}


def _restart(site: Site, flow: Flow, say: Callable[[str], None]) -> Figures:
    """Seconds from SIGKILL and restart of derive to its next event."""
    say("killing derive")
    topic = state_topic(1)
    before = sum(high for _, high in watermarks(site.kafka, topic).values())
    flow.kill()
    _heat_up(site, "asset-00001")
    begin = time.perf_counter()
    flow.start()
    until(lambda: sum(high for _, high in watermarks(site.kafka, topic).values()) > before, TIMEOUT_S, "the next event")
    return {
        "next_output_s": round(time.perf_counter() - begin, 2),
        "metric": _newest_metric(site, topic, "asset-00001"),
    }


def _heat_up(site: Site, asset: str) -> None:
    producer = Producer({"bootstrap.servers": site.kafka.bootstrap})
    at = START_US + 10_000_000_000
    told = [Observation("temperature", value, 0, at + n) for n, value in enumerate((50.0, 99.0))]
    frame = Frame(1, asset, "bench", "bench", START_US, 9, at, DEFINITION.model, told)
    producer.produce(ASSET_STREAM, encode_frame(frame), asset.encode(), partition_of(asset, PARTITIONS))
    producer.flush()


def _newest_metric(site: Site, topic: str, asset: str) -> str:
    home = partition_of(asset, PARTITIONS)
    low, high = watermarks(site.kafka, topic)[home]
    batches = list(read_range(site.kafka, topic, {home: (max(low, high - 1), high)}))
    return decode_event(next(value for batch in batches for value in batch.values if value)).metric


def _rebuilds(site: Site, load: Load, say: Callable[[str], None]) -> Iterator[tuple[str, Figures]]:
    """Records and observations per second and per processor second, view by view, in this process."""
    for view in VIEWS:
        say(f"rebuilding {view}")
        cpu = _cpu_s()
        rebuilt = rebuild(replace(site), view)
        seconds = _cpu_s() - cpu
        observations = load.frames * load.observations
        yield (
            view,
            {
                "records": rebuilt.records,
                "seconds": round(rebuilt.seconds, 2),
                "observations_per_s": round(observations / rebuilt.seconds),
                "observations_per_cpu_s": round(observations / seconds),
            },
        )


def _snapshot() -> Figures:
    """The stall of one snapshot of 100 000 assets in one partition, its size, and the time to load it."""
    assets = Assets(0, "rules", Rules)
    records = list(frames(Load(100_000, 100_000, 1)))
    assets.batch(Batch(0, 0, len(records), list(range(len(records))), list(records)))
    begin = time.perf_counter()
    saved = assets.save()
    stall = time.perf_counter() - begin
    begin = time.perf_counter()
    Assets(0, "rules", Rules).load(saved)
    load_s = time.perf_counter() - begin
    return {"assets": 100_000, "stall_s": round(stall, 3), "load_s": round(load_s, 2), "mb": round(len(saved) / 1e6, 1)}


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def site_of(environment: Mapping[str, str], folder: Path) -> Site:
    """A site with its data in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return replace(Site.from_environment(environment), data=folder)
