"""End a run so that nothing is left on its way: ingest first, then each view once it has finished all there is."""

import time
from typing import Final

from assets.connection import KafkaConnection
from deploy.pipeline import Pipeline
from deploy.processes import ChildError, Usage
from deploy.progress import Live, ends_of, lag_of
from flows._site import View

FINISH_TIMEOUT_S: Final = 90.0
ASK_EVERY_S: Final = 0.2
STEPS: Final[dict[str, tuple[View, ...]]] = {
    "ingest": (),
    "derive": ("derive",),
    "serve": ("serve", "archive"),
    "archive": (),
}
"""In which order flows are stopped, and which views must have finished before."""


def drain(pipeline: Pipeline) -> tuple[dict[str, int], dict[str, Usage]]:
    """Stop all flows in the order of the data's way, each when it has nothing left; exit code and usage of each."""
    kafka = KafkaConnection.from_environment(pipeline.environment)
    usage: dict[str, Usage] = {}
    codes: dict[str, int] = {}
    for name, unfinished in STEPS.items():
        _wait_until_finished(pipeline, kafka, unfinished)
        usage[name] = pipeline.flows[name].usage() or Usage(0, 0.0)
        codes[name] = pipeline.stop_flow(name)
        if name == "ingest":
            pipeline.stop_plant()  # the machines' truth is complete, and the rest gets their share of the processor
    return codes, usage


def _wait_until_finished(pipeline: Pipeline, kafka: KafkaConnection, views: tuple[View, ...]) -> None:
    """Wait until these views have finished what stood in their inputs when they were asked."""
    behind = dict.fromkeys(views, 1)
    deadline = time.monotonic() + FINISH_TIMEOUT_S
    while any(behind.values()):
        live = Live.of(kafka)
        ends = ends_of(kafka, live)
        behind = {view: lag_of(kafka, view, live, ends) for view in behind}
        for view in behind:
            if pipeline.flows[view].poll() is not None:
                raise ChildError(pipeline.flows[view].crash_report())
        if time.monotonic() > deadline:
            left = ", ".join(f"{view} has {lag} of its records left" for view, lag in behind.items())
            raise TimeoutError(f"waited {FINISH_TIMEOUT_S:g} s in vain for views to finish: {left}")
        time.sleep(ASK_EVERY_S if any(behind.values()) else 0)
