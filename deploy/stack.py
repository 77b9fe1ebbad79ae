"""The local stack: a real Kafka broker and a real nats-server on loopback, started and stopped together.

In-process (tests, benchmarks): `with Stack(folder) as stack: stack.kafka_bootstrap, stack.nats_url`.
From a terminal it lives in a process of its own: deploy/supervisor.py.
"""

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from deploy.jars import Progress
from deploy.kafka import Kafka
from deploy.nats import Nats
from deploy.paths import jars_folder
from deploy.processes import Child
from deploy.wait import until

START_TIMEOUT_S = 60.0
START_ATTEMPTS = 3
"""A port that was free can be taken by another process before our server binds it."""

Service = Kafka | Nats


class StackError(RuntimeError):
    """The stack could not be started, or one of its servers ended by itself."""


@dataclass(frozen=True)
class External:
    """Existing servers to use instead of starting our own; an empty address means that we start one."""

    kafka_bootstrap: str = ""
    nats_url: str = ""

    @classmethod
    def named_in(cls, environ: Mapping[str, str] = os.environ) -> "External":
        """The servers that the environment names."""
        return cls(environ.get("KAFKA_BOOTSTRAP", ""), environ.get("NATS_URL", ""))

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to start."""
        return bool(self.kafka_bootstrap and self.nats_url)


class Stack:
    """Kafka and NATS with their data in one folder; either is skipped where an address of an existing one is given.

    They take the preferred ports where those are free, else any: two stacks at once never meet.
    """

    def __init__(
        self,
        data: Path,
        external: External = External(),
        preferred_ports: Mapping[str, int] | None = None,
        say: Progress = lambda _: None,
        jars: Path | None = None,
    ) -> None:
        self.data = data
        self.kafka_bootstrap = external.kafka_bootstrap
        self.nats_url = external.nats_url
        self.services: dict[str, Service] = {}
        self._ports = preferred_ports or {}
        self._own = [name for name, at in (("nats", self.nats_url), ("kafka", self.kafka_bootstrap)) if not at]
        self._say = say
        self._jars = jars or jars_folder()
        self._lock: IO[str] | None = None

    def start(self) -> Self:
        """Start both servers side by side and wait until both answer."""
        self._take_lock()
        try:
            for name in self._own:
                self.services[name] = self._make(name).start()
            for name in self._own:
                self._await(name)
        except BaseException:
            self.stop()
            raise
        if "kafka" in self.services:
            self.kafka_bootstrap = self.services["kafka"].address
        if "nats" in self.services:
            self.nats_url = self.services["nats"].address
        return self

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop both servers cleanly; after `timeout_s` hard."""
        for service in self.services.values():
            if service.running:
                service.stop(timeout_s)
        self.services.clear()
        if self._lock:
            self._lock.close()
            self._lock = None

    def crashed(self) -> Child | None:
        """A server that ended by itself, if there is one."""
        return next((service for service in self.services.values() if service.poll() is not None), None)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use this stack."""
        return {"KAFKA_BOOTSTRAP": self.kafka_bootstrap, "NATS_URL": self.nats_url}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _take_lock(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        self._lock = (self.data / "stack.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            self._lock = None
            raise StackError(f"could not start a stack on {self.data}: another one is running on it") from None

    def _make(self, name: str) -> Service:
        if name == "kafka":
            return Kafka(self.data / "kafka", self._jars, self._ports.get("kafka", 0), self._say)
        return Nats(self.data / "nats", self._ports.get("nats", 0))

    def _await(self, name: str) -> None:
        for attempt in range(1, START_ATTEMPTS + 1):
            service = self.services[name]
            self._say(f"starting {name} on port {service.port}")
            _settle(service)
            if service.running:
                return
            if attempt == START_ATTEMPTS or "address already in use" not in service.last_lines().lower():
                raise StackError(f"could not start {name}: {service.crash_report()}")
            self.services[name] = self._make(name).start()


def _settle(service: Service) -> None:
    """Wait until a server answers or ends."""
    try:
        until(lambda: service.poll() is not None or service.ready(), START_TIMEOUT_S, "an answer")
    except TimeoutError:
        raise StackError(
            f"{service.name} did not answer on port {service.port} within {START_TIMEOUT_S:g} s; "
            f"its last lines in {service.log_path}:\n{service.last_lines()}"
        ) from None
