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
from bench.views import site_of, view_figures
from deploy.stack import Stack
from sinks.kafka import TopicSpec, ensure_topics

PARTITIONS = 12
LOADS = (Load(1_000, 1_000_000, 1), Load(20_000, 2_000_000, 1), Load(1_000, 200_000, 10), Load(20_000, 200_000, 10))
KINDS = ("decode", "state", "idiomatic", "volatile", "derive")
Figures = dict[str, Any]


def run(rounds: int, scale: float, say: Callable[[str], None]) -> Figures:
    """All measurements, each part on a stack of its own."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        home = Path(folder)
        with Stack(home / "derive") as stack:
            loads = [Load(load.assets, int(load.frames * scale), load.observations) for load in LOADS]
            derive = [_compare(load, stack.kafka_bootstrap, home, rounds, say) for load in loads]
        with Stack(home / "views") as stack:
            environment = {**stack.environment, "PENSTOCK_DATA": str(home / "views-data")}
            views = view_figures(site_of(environment, home / "views-data"), environment, scale, say)
        with Stack(home / "start") as stack:
            start = flow_starts(home / "start-data", stack.environment, say)
    return {"derive": derive, "views": views, "start": start}


def _compare(load: Load, bootstrap: str, folder: Path, rounds: int, say: Callable[[str], None]) -> Figures:
    """One load: the bare loops, the idiomatic flow (once: it is slow) and ours, in turn."""
    topic = _topic(bootstrap, f"load-{uuid.uuid4().hex[:8]}")
    say(f"writing {load.frames:,} frames: {load.name}")
    records = write(load, bootstrap, topic, PARTITIONS)
    runs: dict[str, list[Figures]] = {kind: [] for kind in KINDS}
    for n in range(rounds):
        say(f"round {n + 1} of {rounds}: {load.name}")
        for kind in KINDS if n == 0 else [kind for kind in KINDS if kind != "idiomatic"]:
            out, recovery = _topic(bootstrap, f"{topic}-{kind}-{n}"), str(folder / f"recovery-{topic}-{kind}-{n}")
            command = {
                "decode": ("bench.raw", topic, out, str(records), "decode"),
                "state": ("bench.raw", topic, out, str(records), "state"),
                "idiomatic": ("bench.idiomatic", topic, out, recovery),
                "volatile": ("bench.derive_once", topic, out),
                "derive": ("bench.derive_once", topic, out, recovery),
            }[kind]
            runs[kind].append(_child(bootstrap, *command))
    return {**asdict(load), "records": records, **_medians(runs, records)}


def _medians(runs: dict[str, list[Figures]], records: int) -> Figures:
    rates = {kind: statistics.median(records / each["wall_s"] for each in of) for kind, of in runs.items()}
    cpu = {kind: statistics.median(each["cpu_s"] / records * 1e6 for each in of) for kind, of in runs.items()}
    return {
        "records_per_s": {kind: round(rate) for kind, rate in rates.items()},
        "cpu_us_per_record": {kind: round(each, 2) for kind, each in cpu.items()},
        "ratio_to_raw_decode": round(rates["derive"] / rates["decode"], 3),
        "ratio_to_raw_state": round(rates["derive"] / rates["state"], 3),
        "ratio_to_idiomatic": round(rates["derive"] / rates["idiomatic"], 3),
        "ratio_to_volatile": round(rates["derive"] / rates["volatile"], 3),
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
    console.print(_derive_table(figures["derive"]))
    console.print(_views_table(figures))
    restart, snapshot = figures["views"]["restart"], figures["views"]["snapshot"]
    console.print(f"derive, killed and started again: next event after {restart['next_output_s']} s")
    console.print(
        f"snapshot of {snapshot['assets']:,} assets in one partition: {snapshot['stall_s']} s, {snapshot['mb']} MB; "
        f"loaded in {snapshot['load_s']} s"
    )


def _derive_table(loads: list[Figures]) -> Table:
    table = Table(title="derive against a bare loop and the idiomatic flow (records/s, medians)")
    columns = (
        "load",
        "raw decode",
        "raw state",
        "idiomatic",
        "volatile",
        "derive",
        "/decode",
        "/state",
        "/idiom.",
        "/vol.",
        "us raw",
        "us ours",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "load" else "right", no_wrap=True)
    for each in loads:
        rate, cpu = each["records_per_s"], each["cpu_us_per_record"]
        table.add_row(
            Load(each["assets"], each["frames"], each["observations"]).name,
            *(f"{rate[kind]:,}" for kind in KINDS),
            *(f"{each[f'ratio_to_{of}']:.2f}" for of in ("raw_decode", "raw_state", "idiomatic", "volatile")),
            f"{cpu['state']:.1f}",
            f"{cpu['derive']:.1f}",
        )
    return table


def _views_table(figures: Figures) -> Table:
    table = Table(title="flows")
    for column in (
        "flow",
        "first output s",
        "RSS MB",
        "RSS MB full",
        "idle cores",
        "live observations/s",
        "of raw",
        "rebuild observations/s",
        "per core",
    ):
        table.add_column(column, justify="left" if column == "flow" else "right")
    views = figures["views"]
    for name, start in figures["start"].items():
        idle, rebuilt, live = (views[part].get(name) for part in ("idle", "rebuild", "live"))
        table.add_row(
            name,
            f"{start['first_output_s']:.2f}",
            f"{start['rss_mb']:.0f}",
            f"{idle['rss_mb']:.0f}" if idle else "-",
            f"{idle['cores']:.3f}" if idle else "-",
            f"{live['observations_per_s']:,}" if live else "-",
            f"{live['ratio_to_raw_decode']:.2f}" if live else "-",
            f"{rebuilt['observations_per_s']:,}" if rebuilt else "-",
            f"{rebuilt['observations_per_cpu_s']:,}" if rebuilt else "-",
        )
    return table
