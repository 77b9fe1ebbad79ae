"""The process that keeps the local stack running after `up` has returned: `python -m deploy.supervisor FOLDER`.

It starts the servers, tells deploy/state.py what it does, watches them, and stops them on SIGTERM. A server that ends
by itself is reported with its last lines and the other one is stopped: half a stack helps nobody.
"""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

from deploy import kafka, nats
from deploy.processes import ChildError
from deploy.stack import External, Service, Stack
from deploy.state import Phase, ProcessId, ServiceState, StackState, read_state, write_state

WATCH_EVERY_S = 0.5
PREFERRED_PORTS = {"kafka": kafka.PREFERRED_PORT, "nats": nats.PREFERRED_PORT}
"""The usual ones, and for a stack that ran before those that it had."""


class _StopRequest(BaseException):
    """SIGTERM or SIGINT: not an error, and not to be swallowed on the way."""


def supervise(data: Path) -> int:
    """Run the stack until a signal comes or a server ends; the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _request_stop)
    before = read_state(data)
    state = StackState(Phase.STARTING, "starting", ProcessId.of(os.getpid()))
    ports = PREFERRED_PORTS | {name: service.port for name, service in before.services.items() if service.port}

    def say(message: str) -> None:
        write_state(data, replace(state, message=message, services=_services(stack)))

    stack = Stack(data, External.named_in(), preferred_ports=ports, say=say)
    try:
        stack.start()
        state = replace(state, phase=Phase.RUNNING, message="", services=_services(stack))
        write_state(data, state)
        _watch(stack)
    except _StopRequest:
        state = replace(state, phase=Phase.STOPPED)
    except (RuntimeError, OSError) as error:
        state = replace(state, phase=Phase.FAILED, message=str(error))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # stopping already; a second request changes nothing
    stack.stop()
    write_state(data, state)
    return 0 if state.phase == Phase.STOPPED else 1


def _watch(stack: Stack) -> None:
    while (crashed := stack.crashed()) is None:
        time.sleep(WATCH_EVERY_S)
    raise ChildError(crashed.crash_report())


def _services(stack: Stack) -> dict[str, ServiceState]:
    external = {"kafka": stack.kafka_bootstrap, "nats": stack.nats_url}
    known = {name: ServiceState(address) for name, address in external.items() if address}
    return known | {name: _service(service) for name, service in stack.services.items() if service.running}


def _service(service: Service) -> ServiceState:
    process = ProcessId.of(service.pid)
    return ServiceState(
        service.address, service.port, process, process.created, str(service.log_path), str(service.data)
    )


def _request_stop(_number: int, _frame: FrameType | None) -> None:
    raise _StopRequest


if __name__ == "__main__":
    sys.exit(supervise(Path(sys.argv[1])))
