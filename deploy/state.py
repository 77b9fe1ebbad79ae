"""What the stack's supervisor tells other processes: one small file, replaced whole."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil


class Phase(StrEnum):
    """Where the stack is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class ProcessId:
    """A process for certain: a pid alone may by now belong to another one."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        """The identity of a running process."""
        return cls(pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process if it still runs; one that only waits to be collected does not."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class ServiceState:
    """One server: where it answers and, if it is ours, its process, log and data."""

    address: str
    port: int = 0
    process: ProcessId | None = None
    since: float = 0.0
    log: str = ""
    data: str = ""


@dataclass(frozen=True)
class StackState:
    """The whole stack as last told by its supervisor."""

    phase: Phase
    message: str = ""
    supervisor: ProcessId | None = None
    services: dict[str, ServiceState] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs and its servers are up."""
        return self.phase == Phase.RUNNING and self.supervisor is not None and self.supervisor.find() is not None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use this stack."""
        names = {"kafka": "KAFKA_BOOTSTRAP", "nats": "NATS_URL"}
        return {names[name]: service.address for name, service in self.services.items()}

    def processes(self) -> list[psutil.Process]:
        """Every process of the stack that still runs, the supervisor first."""
        ids = [self.supervisor, *(service.process for service in self.services.values())]
        return [process for identity in ids if identity and (process := identity.find())]


def state_path(data: Path) -> Path:
    """The file of the stack whose data lie in `data`."""
    return data / "stack" / "state.json"


def write_state(data: Path, state: StackState) -> None:
    """Replace the file."""
    path = state_path(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(state), indent=2))
    fresh.replace(path)


def read_state(data: Path) -> StackState:
    """What the file says; a stack that never ran is stopped."""
    try:
        record: dict[str, Any] = json.loads(state_path(data).read_text())
    except FileNotFoundError:
        return StackState(Phase.STOPPED)
    return StackState(
        Phase(record["phase"]),
        record["message"],
        _process(record["supervisor"]),
        {name: _service(service) for name, service in record["services"].items()},
    )


def _service(record: dict[str, Any]) -> ServiceState:
    return ServiceState(**{**record, "process": _process(record["process"])})


def _process(record: dict[str, Any] | None) -> ProcessId | None:
    return ProcessId(**record) if record else None
