"""The core figures: our derive path against a bare loop on the same records, and what each flow costs to start.

Both run in processes of their own, interleaved; the printed figures are medians, the ratios are what counts.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from assets.connection import KafkaConnection
from bench.load import Load, write
from bench.startup import flow_starts
from deploy.stack import Stack
from sinks.kafka import TopicSpec, ensure_topics

PARTITIONS = 12
LOADS = (Load(1_000, 600_000, 1), Load(20_000, 600_000, 1), Load(1_000, 150_000, 10), Load(20_000, 150_000, 10))
Figures = dict[str, Any]


def run(rounds: int, scale: float, say: Callable[[str], None]) -> Figures:
    """All measurements on a stack of its own."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, Stack(Path(folder)) as stack:
        loads = [Load(load.assets, int(load.frames * scale), load.observations) for load in LOADS]
        return {
            "derive": [_compare(load, stack.kafka_bootstrap, Path(folder), rounds, say) for load in loads],
            "start": flow_starts(Path(folder) / "start", stack.environment, say),
        }


def _compare(load: Load, bootstrap: str, folder: Path, rounds: int, say: Callable[[str], None]) -> Figures:
    """One load: the bare loops and ours, in turn."""
    topic = _topic(bootstrap, f"load-{uuid.uuid4().hex[:8]}")
    say(f"writing {load.frames:,} frames: {load.name}")
    records = write(load, bootstrap, topic, PARTITIONS)
    runs: dict[str, list[Figures]] = {"decode": [], "state": [], "derive": []}
    for n in range(rounds):
        say(f"round {n + 1} of {rounds}: {load.name}")
        for kind in ("decode", "state"):
            runs[kind].append(
                _child(bootstrap, "bench.raw", topic, _topic(bootstrap, f"{topic}-{kind}-{n}"), str(records), kind)
            )
        out, recovery = _topic(bootstrap, f"{topic}-derive-{n}"), folder / f"recovery-{topic}-{n}"
        runs["derive"].append(_child(bootstrap, "bench.derive_once", topic, out, str(recovery)))
    return {**asdict(load), "records": records, **_medians(runs, records)}


def _medians(runs: dict[str, list[Figures]], records: int) -> Figures:
    rates = {kind: statistics.median(records / each["wall_s"] for each in of) for kind, of in runs.items()}
    cpu = {kind: statistics.median(each["cpu_s"] / records * 1e6 for each in of) for kind, of in runs.items()}
    return {
        "records_per_s": {kind: round(rate) for kind, rate in rates.items()},
        "cpu_us_per_record": {kind: round(each, 2) for kind, each in cpu.items()},
        "ratio_to_raw_decode": round(rates["derive"] / rates["decode"], 3),
        "ratio_to_raw_state": round(rates["derive"] / rates["state"], 3),
        "runs": runs,
    }


def _topic(bootstrap: str, name: str) -> str:
    ensure_topics(
        KafkaConnection(bootstrap=bootstrap), [TopicSpec(name=n, partitions=PARTITIONS) for n in (name, "dead-letters")]
    )
    return name


def _child(bootstrap: str, module: str, *arguments: str) -> Figures:
    """Run a measurement in its own process; it prints its figures as the last line."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "KAFKA_BOOTSTRAP": bootstrap},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{module} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def show(figures: Figures, console: Console) -> None:
    """Print the figures as tables."""
    table = Table(title="derive against a bare loop (medians)")
    for column in (
        "load",
        "raw decode/s",
        "raw state/s",
        "derive/s",
        "of decode",
        "of state",
        "us CPU raw",
        "us CPU ours",
    ):
        table.add_column(column, justify="left" if column == "load" else "right")
    for each in figures["derive"]:
        rate, cpu = each["records_per_s"], each["cpu_us_per_record"]
        table.add_row(
            Load(each["assets"], each["frames"], each["observations"]).name,
            *(f"{rate[kind]:,}" for kind in ("decode", "state", "derive")),
            f"{each['ratio_to_raw_decode']:.2f}",
            f"{each['ratio_to_raw_state']:.2f}",
            f"{cpu['state']:.1f}",
            f"{cpu['derive']:.1f}",
        )
    console.print(table)
    starts = Table(title="flows")
    for column in ("flow", "first output after s", "RSS MB"):
        starts.add_column(column, justify="left" if column == "flow" else "right")
    for name, each in figures["start"].items():
        starts.add_row(name, f"{each['first_output_s']:.2f}", f"{each['rss_mb']:.0f}")
    console.print(starts)
