"""Everything of a plant on one machine: the local stack, the simulated plant and the four flows, started and stopped.

The demo, the soak test and the benchmarks run it: `with Pipeline(data, plant) as pipeline: pipeline.check()`.
"""

import json
import sys
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
        """Start the stack (or find it running), the plant, then the flows; on failure nothing is left running."""
        try:
            self._stack_was_up = local.status(self.data).alive
            self.stack = local.up(self.data, self._say)
            environment = self.stack.environment | self._start_plant()
            for name in FLOWS:
                self._say(f"starting the flow {name}")
                self.flows[name] = self._flow(name, environment)
                self.flows[name].start()
        except BaseException:
            self.stop()
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

    def stop(self) -> None:
        """Stop what still runs, in the order of the data's way, then the plant, then the stack if we started it."""
        for name, flow in self.flows.items():
            if flow.running:
                self.stop_flow(name)
        if self.plant and self.plant.running:
            self._say("stopping the plant")
            self.plant.stop()
        if self.stack and not self._stack_was_up:
            self._say("stopping Kafka and NATS")
            local.down(self.data)
        self.stack = None

    def kill(self) -> None:
        """End the flows and the plant at once, for the impatient second Ctrl-C."""
        for child in self.children:
            if child.running:
                child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.stop()
        except KeyboardInterrupt:
            self.kill()
            self.stop()

    def _start_plant(self) -> dict[str, str]:
        """Start the simulated machines; the variables that their plant folder needs, and the folders of a flow."""
        self._say("starting the simulated plant")
        command = [sys.executable, "-m", "deploy.demo", "--data", str(self.data / "plant")]
        self.plant = plant = Child("plant", command, self.data / "logs" / "plant.log").start()
        until(lambda: plant.poll() is not None or _ready_line(plant), PLANT_READY_TIMEOUT_S, "the simulated plant")
        if (line := _ready_line(plant)) is None:
            raise ChildError(plant.crash_report())
        variables: dict[str, str] = json.loads(line.removeprefix(READY)).get("env", {})
        return variables | self._folders()

    def _folders(self) -> dict[str, str]:
        return {"PENSTOCK_DATA": str(self.data), "PENSTOCK_PLANT": str(self.plant_folder)}

    def _flow(self, name: str, environment: dict[str, str]) -> Flow:
        return Flow(name, environment, self.data / "logs" / f"{name}.log", self.data / "recovery" / name)


def _ready_line(plant: Child) -> str | None:
    lines = (line.strip() for line in plant.last_lines(50).splitlines())
    return next((line for line in lines if line.startswith(READY)), None)
