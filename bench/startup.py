"""What it costs to start each flow: seconds to its first output, and memory, on the simulated plant."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from assets.connection import KafkaConnection
from assets.stream import ASSET_STREAM, state_topic
from deploy.processes import Child, Flow
from deploy.wait import until
from flows._site import View, progress_group
from sources.kafka import committed, watermarks

TIMEOUT_S: Final = 60.0
SETTLE_S: Final = 5.0
"""How long each flow runs before its memory is read."""

Figures = dict[str, Any]


def flow_starts(folder: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> Figures:
    """Per flow: seconds from the start of its process to its first output, then memory and use of a core."""
    kafka = KafkaConnection(bootstrap=environment["KAFKA_BOOTSTRAP"])
    plant = Child("plant", [sys.executable, "-m", "deploy.demo", "--data", str(folder / "plant")], folder / "plant.log")
    plant.start()
    started: list[Flow] = []
    try:
        until(lambda: "READY " in plant.last_lines(50), TIMEOUT_S, "the simulated plant")
        line = next(line for line in plant.last_lines(50).splitlines() if "READY " in line)
        variables = json.loads(line.split("READY ", 1)[1])["env"]
        env = {**environment, **variables, "PENSTOCK_DATA": str(folder)}
        figures: Figures = {}
        for name, first_output in _first_outputs(kafka).items():
            say(f"starting {name}")
            flow = Flow(name, env, folder / f"{name}.log", folder / "recovery" / name)
            started.append(flow)
            figures[name] = _measure(flow, first_output)
        return figures
    finally:
        for flow in started:
            flow.stop()
        plant.stop()


def _measure(flow: Flow, first_output: Callable[[], bool]) -> Figures:
    begin = time.perf_counter()
    flow.start()
    until(lambda: first_output() or flow.poll() is not None, TIMEOUT_S, f"the first output of {flow.name}")
    seconds = time.perf_counter() - begin
    before = flow.usage()
    settled = time.perf_counter() + SETTLE_S
    until(lambda: time.perf_counter() > settled, SETTLE_S + 1, "the flow to settle")
    after = flow.usage()
    if before is None or after is None:
        raise SystemExit(flow.crash_report())
    cpu = (after.cpu_s - before.cpu_s) / SETTLE_S
    return {"first_output_s": round(seconds, 2), "rss_mb": round(after.rss_bytes / 1e6, 1), "cores": round(cpu, 3)}


def _first_outputs(kafka: KafkaConnection) -> dict[str, Callable[[], bool]]:
    """When a flow counts as started: something of it can be seen from outside."""

    def written(topic: str) -> Callable[[], bool]:
        return lambda: any(high > low for low, high in _marks(kafka, topic).values())

    def finished(view: View) -> Callable[[], bool]:
        return lambda: any(offset > 0 for offset in committed(kafka, progress_group(view, 1), ASSET_STREAM).values())

    return {
        "ingest": written(ASSET_STREAM),
        "derive": written(state_topic(1)),
        "serve": finished("serve"),
        "archive": finished("archive"),
    }


def _marks(kafka: KafkaConnection, topic: str) -> dict[int, tuple[int, int]]:
    try:
        return watermarks(kafka, topic)
    except Exception:  # the flow has not made the topic yet
        return {}
