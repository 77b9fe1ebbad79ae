"""Child processes that do not outlive us: start, watch, stop, and the last lines they said."""

import ctypes
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from deploy.paths import ROOT

LOG_BYTES_KEPT = 16 * 2**20
"""A log longer than this is moved to `.old` when its process is started again."""


class ChildError(RuntimeError):
    """A child process that could not be started or that ended by itself."""


@dataclass(frozen=True)
class Usage:
    """What a process uses: resident memory, and processor time since its start."""

    rss_bytes: int
    cpu_s: float


class Child:
    """One child process in a session of its own (a Ctrl-C in the terminal reaches us, and we stop it in order)."""

    def __init__(
        self, name: str, command: Sequence[str], log_path: Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log_path = log_path
        self.env = dict(env or {})
        self.cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> Self:
        """Start it, with `env` added to our environment and both outputs appended to the log."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        _rotate(self.log_path)
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - calls only prctl, which takes no lock
            )
        return self

    @property
    def pid(self) -> int:
        """The process id; an error before `start`."""
        return self._started().pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs (or before `start`)."""
        return self._process.poll() if self._process else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout_s: float) -> int:
        """The exit code once it ends; TimeoutError if it does not within `timeout_s`."""
        try:
            return self._started().wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f'process "{self.name}" still runs after {timeout_s:g} s') from None

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, wait, SIGKILL after `timeout_s`; the exit code (negative: ended by that signal)."""
        process = self._started()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal and do not wait."""
        self._started().send_signal(number)

    def kill(self) -> None:
        """SIGKILL and wait: what a power cut looks like to the process."""
        self._started().kill()
        self._started().wait()

    def usage(self) -> Usage | None:
        """Memory and processor time, or None if it does not run."""
        try:
            process = psutil.Process(self.pid)
            with process.oneshot():
                times = process.cpu_times()
                return Usage(process.memory_info().rss, times.user + times.system)
        except psutil.Error:
            return None

    def last_lines(self, count: int = 15) -> str:
        """The end of what this run wrote."""
        return last_lines(self.log_path, count, self._log_start)

    def crash_report(self) -> str:
        """One message about a process that ended by itself: exit code, log file, last lines."""
        return f'process "{self.name}" {_ended(self.poll())}; its last lines in {self.log_path}:\n{self.last_lines()}'

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise ChildError(f'process "{self.name}" was not started')
        return self._process


class Flow(Child):
    """A dataflow as a child process: `python -m bytewax.run flows.NAME`, with or without a recovery store."""

    def __init__(
        self, name: str, env: Mapping[str, str], log_path: Path, recovery: Path | None = None, target: str = ""
    ) -> None:
        super().__init__(name, flow_command(target or f"flows.{name}", recovery), log_path, env)


def recovery_folder(data: Path, flow: str, copy: str = "0/1") -> Path:
    """Where a flow's recovery store lies: each copy i/N has one of its own.

    >>> recovery_folder(Path(".data"), "derive"), recovery_folder(Path(".data"), "derive", "1/3")
    (PosixPath('.data/recovery/derive'), PosixPath('.data/recovery/derive-1-of-3'))
    """
    i, n = copy.split("/")
    return data / "recovery" / (flow if n == "1" else f"{flow}-{i}-of-{n}")


def flow_command(target: str, recovery: Path | None = None, *more: str) -> list[str]:
    """The command line of a flow; makes the recovery store if there is none yet."""
    command = [sys.executable, "-m", "bytewax.run", target, *more]
    if recovery is None:
        return command
    if not any(recovery.glob("part-*.sqlite3")):
        recovery.mkdir(parents=True, exist_ok=True)
        from bytewax.recovery import init_db_dir  # in this process: a new one costs a quarter of a second per flow

        init_db_dir(recovery, 1)
    return [*command, "-r", str(recovery), "-s", "1", "-b", "0"]


def last_lines(path: Path, count: int = 15, start: int = 0) -> str:
    """The last `count` lines of a log from byte `start` on, indented for a message."""
    if not path.exists():
        return "  (nothing written)"
    with path.open("rb") as log:
        log.seek(start)
        lines = deque(log, count)
    return "".join(f"  {line.decode(errors='replace').rstrip()}\n" for line in lines).rstrip() or "  (nothing written)"


def _ended(code: int | None) -> str:
    if code is None:
        return "still runs"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _rotate(path: Path) -> None:
    if path.exists() and path.stat().st_size > LOG_BYTES_KEPT:
        path.replace(path.with_name(path.name + ".old"))


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux the kernel ends the child when the thread that started it is gone, however it went."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    pr_set_pdeathsig, parent = 1, os.getpid()

    def ask() -> None:
        libc.prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died before the request was made
            os._exit(1)

    return ask
