"""Up, down and status of the local stack, from any process: what the commands and the demo use."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from deploy import kafka, nats
from deploy.jars import Progress
from deploy.paths import ROOT
from deploy.processes import last_lines
from deploy.stack import External, StackError
from deploy.state import Phase, ServiceState, StackState, read_state
from deploy.wait import until

UP_TIMEOUT_S = 1200.0
"""Long, because the first start downloads; a server that does not answer is reported much sooner."""
DOWN_TIMEOUT_S = 30.0
EXTERNAL_TIMEOUT_S = 10.0

_supervisors: list["subprocess.Popen[bytes]"] = []
"""Started by this process: kept, so that an ended one can be collected."""


def up(data: Path, say: Progress = lambda _: None) -> StackState:
    """The running stack of this folder, started if there is none; StackError if it cannot be."""
    if (external := External.named_in()).complete:
        return _existing(external)
    with _one_at_a_time(data):
        state = read_state(data)
        if state.alive:
            return state
        _end(state.processes())  # left over from a supervisor that was killed
        return _follow(data, _spawn(data), say)


def down(data: Path) -> int:
    """Stop the stack of this folder; how many processes that ended."""
    with _one_at_a_time(data):
        processes = read_state(data).processes()
        _end(processes)
        return len(processes)


def status(data: Path) -> StackState:
    """The stack as it is now: a supervisor that is gone is not running whatever the file says."""
    if (external := External.named_in()).complete:
        return _named(external)
    state = read_state(data)
    if state.phase in {Phase.RUNNING, Phase.STARTING} and not (state.supervisor and state.supervisor.find()):
        return StackState(Phase.FAILED, "its supervisor was killed", None, state.services)
    return state


def _existing(external: External) -> StackState:
    """The servers of the environment, once they have answered."""
    state = _named(external)
    for name, answers in (("kafka", kafka.answers), ("nats", nats.answers)):
        address = state.services[name].address
        try:
            until(partial(answers, address), EXTERNAL_TIMEOUT_S, name)
        except TimeoutError:
            raise StackError(
                f'could not reach {name} at "{address}", named in the environment: no answer within '
                f"{EXTERNAL_TIMEOUT_S:g} s; correct the address, or unset it to use the local stack"
            ) from None
    return state


def _named(external: External) -> StackState:
    services = {"kafka": ServiceState(external.kafka_bootstrap), "nats": ServiceState(external.nats_url)}
    return StackState(Phase.RUNNING, "existing servers, named in the environment", None, services)


def _spawn(data: Path) -> "subprocess.Popen[bytes]":
    with (data / "stack" / "supervisor.log").open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "deploy.supervisor", str(data)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # outlives this command and its terminal
        )
    _supervisors.append(supervisor)
    return supervisor


def _follow(data: Path, supervisor: "subprocess.Popen[bytes]", say: Progress) -> StackState:
    """Pass on what the supervisor says until it runs or fails."""
    said = ""

    def settled() -> StackState | None:
        nonlocal said
        ended = supervisor.poll() is not None
        state = read_state(data)
        if state.supervisor is None or state.supervisor.pid != supervisor.pid:
            return StackState(Phase.FAILED, _silent_failure(data)) if ended else None
        if state.phase == Phase.STARTING and state.message != said:
            said = state.message
            say(said)
        return state if ended or state.phase != Phase.STARTING else None

    try:
        state = until(settled, UP_TIMEOUT_S, "the local stack to start")
    except BaseException:  # Ctrl-C above all: nothing half-started stays behind
        supervisor.terminate()
        supervisor.wait(DOWN_TIMEOUT_S)
        raise
    if not state.alive:
        raise StackError(state.message)
    return state


def _silent_failure(data: Path) -> str:
    log = data / "stack" / "supervisor.log"
    return f"could not start the supervisor of the local stack; its last lines in {log}:\n{last_lines(log)}"


def _end(processes: list[psutil.Process]) -> None:
    """SIGTERM to the supervisor (which stops its servers), SIGKILL to whatever is left after the deadline."""
    if not processes:
        return
    processes[0].terminate()
    _, alive = psutil.wait_procs(processes[:1], DOWN_TIMEOUT_S)
    for process in (left := [process for process in processes if process in alive or process.is_running()]):
        process.terminate()
    _, alive = psutil.wait_procs(left, DOWN_TIMEOUT_S)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, DOWN_TIMEOUT_S)
    for supervisor in _supervisors:
        supervisor.poll()


@contextmanager
def _one_at_a_time(data: Path) -> Iterator[None]:
    (data / "stack").mkdir(parents=True, exist_ok=True)
    with (data / "stack" / "up.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def environment(state: StackState) -> dict[str, str]:
    """The environment of a process that uses this stack."""
    return {**os.environ, **state.environment}
