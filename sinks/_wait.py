"""Waiting for a system that is away or full: in short slices, so that a stop of the process is heard."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

SLICE_S: Final = 0.05
GRACE_S: Final = 5.0
"""After a stop was asked for, how long a system that is away may still come back."""
CALM_S: Final = 5.0
"""How long a disk must take everything before it counts as having space: a nearly full one takes some of it."""


class Stopping(Protocol):
    """The wish to end, shared by the parts of a process."""

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""


class Interrupted(RuntimeError):
    """A stop came while a system was away; what it has not taken is read again from Kafka at the next start."""


class Patience:
    """Sleeps in slices, and gives up some seconds after a stop was asked for."""

    def __init__(self, stop: Stopping, task: str) -> None:
        self._stop = stop
        self._task = task
        self._until: float | None = None

    def wait(self, sleep: Callable[[float], object] = time.sleep, slice_s: float = SLICE_S) -> None:
        """Sleep one slice; raises `Interrupted` when there is no more time."""
        if self._stop.requested:
            now = time.monotonic()
            self._until = self._until or now + GRACE_S
            if now >= self._until:
                raise Interrupted(f"could not {self._task} before the stop; it is done again at the next start")
        sleep(slice_s)


class DiskSpace:
    """Whether the disk of a spool takes what is written; one log line per change."""

    def __init__(self, log: logging.Logger, spool: Path) -> None:
        self._log = log
        self._spool = spool
        self._refused_at: float | None = None

    def refused(self) -> None:
        """The disk is full."""
        if self._refused_at is None:
            self._log.error('could not write spool "%s": the disk is full; ingest now waits for Kafka', self._spool)
        self._refused_at = time.monotonic()

    def taken(self) -> None:
        """The disk took something."""
        if self._refused_at is not None and time.monotonic() - self._refused_at >= CALM_S:
            self._log.warning('spool "%s": there is space on the disk again', self._spool)
            self._refused_at = None
