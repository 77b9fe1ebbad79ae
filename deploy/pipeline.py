"""Everything of a plant on one machine: the local stack, the simulated plant and the four flows, started and stopped.

The demo, the soak test and the benchmarks run it: `with Pipeline(data, plant) as pipeline: pipeline.check()`.
"""

import json
import signal
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy import local
from deploy.jars import Progress
from deploy.paths import ROOT
from deploy.processes import Child, ChildError, Flow
from deploy.state import StackState
from deploy.wait import until

DEMO_PLANT = ROOT / "deploy" / "demo" / "plant"
FLOWS = ("ingest", "derive", "serve", "archive")
"""In the order of the data's way, which is also the order of a clean stop: nothing is left behind in between."""

PLANT_READY_TIMEOUT_S = 60.0
FLOW_STOP_TIMEOUT_S = 30.0
READY = "READY "
ROLL = "10s"
"""Stream time per Parquet file: short, so that the archive shows what has just happened."""


class Pipeline:
    """Child processes for the simulated plant and each flow, on the local stack (or on existing servers)."""

    def __init__(self, data: Path, plant: Path = DEMO_PLANT, say: Progress = lambda _: None) -> None:
        self.data = data
        self.plant_folder = plant
        self.flows: dict[str, Flow] = {}
        self.plant: Child | None = None
        self.stack: StackState | None = None
        self._say = say
        self._stack_was_up = False

    def start(self) -> Self:
        """Start the stack (or find it running), then the plant and the flows; on failure nothing is left running.

        Only ingest has to know where the machines are, so the others start while the machines do.
        """
        try:
            self._stack_was_up = local.status(self.data).alive
            self.stack = local.up(self.data, self._say)
            plant = self._start_plant()
            self._say(f"starting the flows {', '.join(FLOWS)}")
            self.flows = {name: self._flow(name) for name in FLOWS}
            for name in reversed(FLOWS[1:]):
                self.flows[name].start()
            self.flows["ingest"].env |= self._ready(plant)
            self.flows["ingest"].start()
        except BaseException as problem:
            self._end(problem)
            raise
        return self

    @property
    def children(self) -> list[Child]:
        """The plant and the flows."""
        return [*([self.plant] if self.plant else []), *self.flows.values()]

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to work on this pipeline's servers and data."""
        return {**(self.stack.environment if self.stack else {}), **self._folders()}

    def check(self) -> None:
        """ChildError with the last log lines if the plant, a flow or a server has ended by itself."""
        for child in self.children:
            if child.poll() is not None:
                raise ChildError(child.crash_report())
        state = local.status(self.data)
        if self.stack and state.phase != self.stack.phase:
            raise ChildError(f"the local stack has {state.phase}: {state.message}")

    def stop_flow(self, name: str) -> int:
        """SIGTERM and wait; the exit code, 0 for a clean stop."""
        self._say(f"stopping the flow {name}")
        return self.flows[name].stop(FLOW_STOP_TIMEOUT_S)

    def stop_plant(self) -> None:
        """Stop the simulated machines; their truth is complete then."""
        if self.plant and self.plant.running:
            self._say("stopping the plant")
            self.plant.stop()

    def stop(self) -> None:
        """Stop what still runs, in the order of the data's way, then the plant, then the stack if we started it."""
        for name, flow in self.flows.items():
            if flow.running:
                self.stop_flow(name)
        self.stop_plant()
        if self.stack and not self._stack_was_up:
            self._say("stopping Kafka and NATS")
            local.down(self.data)
        self.stack = None

    def kill(self) -> None:
        """End the flows and the plant at once, for the impatient second Ctrl-C; a third one changes nothing."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for child in self.children:
            if child.running:
                child.kill()
        self.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._end(value)

    def _end(self, problem: BaseException | None) -> None:
        """Stop in order; at once if the user has asked for it, before or now."""
        if isinstance(problem, KeyboardInterrupt):
            self.kill()
            return
        try:
            self.stop()
        except KeyboardInterrupt:
            self.kill()
            raise

    def _start_plant(self) -> Child:
        """Start the simulated machines."""
        self._say("starting the simulated plant")
        command = [sys.executable, "-m", "deploy.demo", "--data", str(self.data / "plant")]
        self.plant = Child("plant", command, self.data / "logs" / "plant.log").start()
        return self.plant

    def _ready(self, plant: Child) -> dict[str, str]:
        """The variables that the plant folder needs, once the machines answer."""
        until(lambda: plant.poll() is not None or _ready_line(plant), PLANT_READY_TIMEOUT_S, "the simulated plant")
        if (line := _ready_line(plant)) is None:
            raise ChildError(plant.crash_report())
        variables: dict[str, str] = json.loads(line.removeprefix(READY)).get("env", {})
        return variables | self._folders()

    def _folders(self) -> dict[str, str]:
        return {"PENSTOCK_DATA": str(self.data), "PENSTOCK_PLANT": str(self.plant_folder), "PENSTOCK_ROLL": ROLL}

    def _flow(self, name: str) -> Flow:
        return Flow(name, self.environment, self.data / "logs" / f"{name}.log", self.data / "recovery" / name)


def _ready_line(plant: Child) -> str | None:
    lines = (line.strip() for line in plant.last_lines(50).splitlines())
    return next((line for line in lines if line.startswith(READY)), None)
