"""What can happen to a running pipeline: a table of faults, each undone before the next."""

import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.soak_disk import Disk
from deploy.nats import Nats
from deploy.pipeline import FLOWS, Pipeline
from deploy.processes import ChildError, flow_command
from deploy.stack import Stack
from deploy.wait import until

AWAY_S: Final = (2.0, 12.0)
DOWN_S: Final = (0.0, 3.0)
READY_TIMEOUT_S: Final = 60.0
CHECK_EVERY_S: Final = 0.5


@dataclass
class Field:
    """What faults are done to, what was done when, and what went wrong on the way."""

    stack: Stack
    pipeline: Pipeline
    disk: Disk
    chance: random.Random
    done: list[tuple[float, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def pause(field: Field, seconds: float) -> None:
    """Let the pipeline run; ChildError if anything of it ends by itself."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        field.pipeline.check()
        time.sleep(min(left, CHECK_EVERY_S))


def _kill(field: Field, name: str) -> str:
    """SIGKILL to a flow, and a new start."""
    flow = field.chance.choice(FLOWS)
    field.pipeline.flows[flow].kill()
    return _start_again(field, name, flow)


def _restart(field: Field, name: str) -> str:
    """A clean stop of a flow, and a new start."""
    flow = field.chance.choice(FLOWS)
    _stop(field, flow)
    return _start_again(field, name, flow)


def _forget(field: Field, name: str) -> str:
    """A flow comes back without its recovery store."""
    flow = field.chance.choice(FLOWS)
    if field.chance.random() < 0.5:
        field.pipeline.flows[flow].kill()
    else:
        _stop(field, flow)
    store = field.pipeline.data / "recovery" / flow
    shutil.rmtree(store)
    flow_command(f"flows.{flow}", store)
    return _start_again(field, name, flow)


def _stop(field: Field, flow: str) -> None:
    """Stop a flow cleanly; one that has just been started is given the time to take over its signals."""
    child = field.pipeline.flows[flow]
    until(lambda: child.poll() is not None or takes_sigterm(child.pid), READY_TIMEOUT_S, f"{flow} to take signals")
    if code := field.pipeline.stop_flow(flow):
        field.problems.append(f'flow "{flow}" ended with exit code {code} at a clean stop')


def takes_sigterm(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM; where the system does not tell, it is taken to have one."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def _start_again(field: Field, name: str, flow: str) -> str:
    down = field.chance.uniform(*DOWN_S)
    time.sleep(down)
    field.pipeline.flows[flow].start()
    return f"{name} {flow}"


def _server_stopped(field: Field, name: str) -> str:
    """SIGTERM to a server; it is away for some seconds."""
    field.stack.services[name.split(maxsplit=1)[0]].stop()
    return _server_back(field, name)


def _server_killed(field: Field, name: str) -> str:
    """SIGKILL to a server; it is away for some seconds."""
    field.stack.services[name.split(maxsplit=1)[0]].kill()
    return _server_back(field, name)


def _server_frozen(field: Field, name: str) -> str:
    """SIGSTOP to a server: it takes connections and does not answer."""
    service = field.stack.services[name.split(maxsplit=1)[0]]
    service.signal(signal.SIGSTOP)
    seconds = _outage(field)
    service.signal(signal.SIGCONT)
    until(service.ready, READY_TIMEOUT_S, f"{service.name} to answer")
    return f"{name} for {seconds:.1f} s"


def _nats_emptied(field: Field, name: str) -> str:
    """SIGKILL to NATS, and it comes back without anything."""
    nats = field.stack.services["nats"]
    assert isinstance(nats, Nats)
    nats.kill()
    shutil.rmtree(nats.data)
    return _server_back(field, name)


def _disk_full(field: Field, name: str) -> str:
    """No space for the archive; for some seconds."""
    field.disk.fill()
    try:
        seconds = _outage(field)
    finally:
        field.disk.empty()
    return f"{name} for {seconds:.1f} s"


def _server_back(field: Field, name: str) -> str:
    service = field.stack.services[name.split(maxsplit=1)[0]]
    seconds = _outage(field)
    service.start()
    until(service.ready, READY_TIMEOUT_S, f"{service.name} to answer")
    return f"{name} for {seconds:.1f} s"


def _outage(field: Field) -> float:
    """Some seconds, in which no flow may end."""
    seconds = field.chance.uniform(*AWAY_S)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended = [flow for flow in field.pipeline.flows.values() if flow.poll() is not None]
        if ended:
            raise ChildError(ended[0].crash_report())
        time.sleep(min(CHECK_EVERY_S, max(0.0, end - time.monotonic())))
    return seconds


DISK_FULL: Final = "disk full"
FAULTS: Final[dict[str, Callable[[Field, str], str]]] = {
    "kill": _kill,
    "restart": _restart,
    "forget": _forget,
    "kafka stopped": _server_stopped,
    "kafka killed": _server_killed,
    "kafka frozen": _server_frozen,
    "nats stopped": _server_stopped,
    "nats killed": _server_killed,
    "nats frozen": _server_frozen,
    "nats emptied": _nats_emptied,
    DISK_FULL: _disk_full,
}
"""Each is as likely as any other; what it returns is noted."""
