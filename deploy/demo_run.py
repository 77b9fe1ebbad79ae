"""The demo: the whole pipeline on the simulated plant, with a live table, or for so many seconds with a report."""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from rich.console import Console

from deploy import live, paths
from deploy.pipeline import DEMO_PLANT, Pipeline

CHECK_EVERY_S = 0.5

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str]) -> int:
    """Run the demo; 0 if all went well."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _as_interrupt)
    with Pipeline(paths.data_folder(), options.plant, _say) as pipeline:
        began = time.monotonic()
        with suppress(KeyboardInterrupt):
            _run(pipeline, options.seconds)
        if options.seconds is None and options.report is None:
            return _stop(pipeline)
        return _report(pipeline, time.monotonic() - began, options.report)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python3 -m deploy demo", description="Run everything on the simulated plant.")
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after N seconds and report, without a table")
    parser.add_argument("--report", type=paths.called_from, metavar="FILE", help="write the report there as JSON")
    parser.add_argument("--plant", type=paths.called_from, default=DEMO_PLANT, metavar="FOLDER", help="another plant")
    return parser.parse_args(arguments)


def _run(pipeline: Pipeline, seconds: float | None) -> None:
    """Watch until the time is over or the user has seen enough."""
    clock = _Clock(seconds)
    checks = _Every(CHECK_EVERY_S, pipeline.check)

    def over() -> bool:
        checks()
        return clock.over()

    live.keep_log(pipeline.data / "logs" / "demo.log")
    live.show(console, pipeline.environment, over)


def _stop(pipeline: Pipeline) -> int:
    """Stop the flows in the order of the data's way."""
    codes = {name: pipeline.stop_flow(name) for name in pipeline.flows}
    for name, code in codes.items():
        if code != 0:
            print(f'flow "{name}" ended with exit code {code} instead of 0', file=sys.stderr)
    return 1 if any(codes.values()) else 0


def _report(pipeline: Pipeline, seconds: float, file: Path | None) -> int:
    """Let everything be finished, prove it, tell and write it."""
    from deploy import report, report_text  # the archive's reader takes its time to load

    made = report.make(pipeline, seconds, _say)
    if file is not None:
        report.write(made, file)
    report_text.show(console, made)
    return 1 if made["problems"] else 0


class _Every:
    """Calls something now and then, however often it is asked to."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._seconds = seconds
        self._call = call
        self._next = 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._seconds
            self._call()


class _Clock:
    """So many seconds from now on; None is for ever."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end


def _say(message: str) -> None:
    console.print(message, style="dim")


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
