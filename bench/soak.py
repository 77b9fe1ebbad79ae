"""The whole pipeline for many minutes under random faults, then the proofs: `python -m bench.soak --minutes 60`.

Exit code 0 only if every clean stop was clean, no process ended by itself, the audit explains everything and every view
equals its rebuild.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from types import FrameType
from typing import Any, Final

from rich.console import Console

from assets.connection import KafkaConnection
from bench.soak_curves import Curves, draw
from bench.soak_disk import Disk, release
from bench.soak_faults import DISK_FULL, FAULTS, Field, pause
from deploy import live, paths, report
from deploy.pipeline import Pipeline
from deploy.ports import free_port
from deploy.processes import ChildError
from deploy.stack import Stack

BETWEEN_S: Final = (3.0, 10.0)
QUIET_S: Final = 10.0
"""Without faults at the end, so that what was down comes back before everything is stopped."""

console = Console(highlight=False, soft_wrap=True, stderr=True)


def main() -> int:
    """Soak the pipeline; 0 if all adds up."""
    options = _options()
    signal.signal(signal.SIGTERM, _as_interrupt)
    archive = options.folder / "archive" / "g1"
    release(archive)  # of a soak that was killed
    shutil.rmtree(options.folder, ignore_errors=True)
    first = free_port()
    ports = {"kafka": first, "nats": free_port(taken=frozenset({first}))}  # not the usual ones: nobody else comes by
    with (
        Stack(options.folder, preferred_ports=ports, jars=paths.jars_folder(), say=_say) as stack,
        Disk(archive) as disk,
    ):
        os.environ.update(stack.environment)
        found = _soak(stack, disk, options)
    for problem in found["problems"]:
        console.print(f"[red]{problem}[/]")
    console.print(f"figures in {options.folder / 'soak.json'}, curves in {options.folder / 'soak.png'}")
    return 1 if found["problems"] else 0


def _soak(stack: Stack, disk: Disk, options: argparse.Namespace) -> dict[str, Any]:
    """Faults for so many minutes, then the report; what was found stands in the folder, however it ends."""
    found: dict[str, Any] = {"minutes": options.minutes, "seed": options.seed, "problems": []}
    began = time.monotonic()
    live.keep_log(options.folder / "logs" / "soak.log")
    with Pipeline(options.folder, say=_say) as pipeline:
        field = Field(stack, pipeline, disk, random.Random(options.seed))
        kafka = KafkaConnection.from_environment(pipeline.environment)
        with Curves(kafka, pipeline, began) as curves:
            try:
                _faults(field, options.minutes * 60, began)
                made = report.make(pipeline, time.monotonic() - began, _say)
                found |= {"report": made, "problems": [*field.problems, *made["problems"]]}
            except (ChildError, TimeoutError, report.ReplayError) as problem:
                found["problems"] = [*field.problems, str(problem)]
        found |= {"faults": field.done, "without": {DISK_FULL: disk.why_not} if disk.why_not else {}}
        found |= {"samples": curves.samples}
    (options.folder / "soak.json").write_text(json.dumps(found, indent=1, default=str) + "\n")
    draw(curves.samples, field.done, options.folder / "soak.png")
    return found


def _faults(field: Field, seconds: float, began: float) -> None:
    """One fault after the other; the pipeline must be whole before the next."""
    names = [name for name in FAULTS if name != DISK_FULL or not field.disk.why_not]
    if field.disk.why_not:
        _say(f"without the fault {DISK_FULL}: a disk cannot be mounted here: {field.disk.why_not}")
    while (at := time.monotonic() - began) < seconds - QUIET_S:
        name = field.chance.choice(names)
        field.done.append((round(at, 1), FAULTS[name](field, name)))
        _say(f"{at:7.1f} s  {field.done[-1][1]}")
        pause(field, field.chance.uniform(*BETWEEN_S))
    pause(field, max(0.0, seconds - (time.monotonic() - began)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, metavar="M", help="how long faults happen (default: 60)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="other faults at other moments (default: 1)")
    folder = paths.data_folder() / "soak"
    parser.add_argument("--folder", type=paths.called_from, default=folder, help="deleted and made anew")
    return parser.parse_args()


def _say(message: str) -> None:
    console.print(message, style="dim")


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
