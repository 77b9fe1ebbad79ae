"""The clean stop: what every source partition does when the process is told to end.

A source partition that stopped reading waits until the epoch with its last item is closed, then ends its worker:
everything it emitted has gone through all sinks and nothing is emitted twice after a restart. The engine gives no such
stop by itself: SIGTERM would kill at once, end-of-input would close what must stay open.
"""

import signal
import threading
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from bytewax.inputs import AbortExecution, StatefulSourcePartition

X = TypeVar("X")
S = TypeVar("S")

LONGEST_WAIT_MS: Final = 50
"""A worker's sources are all asked together: one that asks to be left alone for long would starve the others."""


STOP_PATIENCE_S: Final = 1.5
"""Without recovery the engine's epochs last 10 s: an input that has been quiet for this long after a stop was asked
for ends by itself, which closes the epoch. Our operators do nothing at the end of input, so nothing is falsified."""


class Stop:
    """The wish to end, shared by all partitions and sinks of a process."""

    def __init__(self) -> None:
        self._wish = threading.Event()
        self._parts: dict[int, list[Partition[Any, Any]]] = {}

    def install(self) -> None:
        """Let SIGTERM and SIGINT ask for the stop; only possible in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.request())

    def request(self) -> None:
        """Ask for a clean stop."""
        self._wish.set()

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._wish.is_set()

    @property
    def workers(self) -> int:
        """How many workers (threads) of this process have had partitions."""
        return len(self._parts)

    def join(self, part: "Partition[Any, Any]") -> None:
        """Count a partition among those of the calling worker (a thread)."""
        self._parts.setdefault(threading.get_ident(), []).append(part)

    def leave(self, part: "Partition[Any, Any]") -> None:
        """Forget a partition that has ended."""
        for parts in self._parts.values():
            if part in parts:
                parts.remove(part)

    @property
    def complete(self) -> bool:
        """Whether all partitions of the calling worker have had a snapshot after their last item."""
        return all(part.parked for part in self._own)

    def settle(self) -> None:
        """Tell all partitions of the calling worker that their last epoch is closed: the first one to end ends it."""
        for part in self._own:
            part.settle()

    @property
    def _own(self) -> "list[Partition[Any, Any]]":
        return self._parts.get(threading.get_ident(), [])


class Partition(StatefulSourcePartition[X, S], Generic[X, S]):
    """A source partition that can be stopped cleanly; a subclass says what to read and where it stands."""

    def __init__(self, stop: Stop, idle_ms: int) -> None:
        self.stop = stop
        self.parked = False
        self._idle = timedelta(milliseconds=min(idle_ms, LONGEST_WAIT_MS))
        self._quiet = False
        self._quiet_since = 0.0
        self._busy = False
        stop.join(self)

    def read(self) -> list[X]:
        """New items, without waiting; raise StopIteration when there will never be more."""
        raise NotImplementedError

    def position(self) -> S:
        """Where to go on after the items read so far."""
        raise NotImplementedError

    def drained(self) -> bool:
        """After a stop was asked for: whether everything taken in has been handed on."""
        return True

    def settle(self) -> None:
        """The epoch of the last snapshot is closed: a place to note progress; may come more than once."""

    def next_batch(self) -> list[X]:
        if self.stop.requested and self.drained():
            if not self._quiet:
                self._quiet, self._quiet_since = True, monotonic()
            if self.parked and self.stop.complete:
                self.stop.settle()
                # an aborted worker would leave those beside it waiting for its part of their epoch
                raise AbortExecution if self.stop.workers == 1 else StopIteration
            if not self.parked and monotonic() - self._quiet_since > STOP_PATIENCE_S:
                raise StopIteration
            return []
        items = self.read()
        self._busy = bool(items)
        return items

    def next_awake(self) -> datetime | None:
        return None if self._busy else datetime.now(UTC) + self._idle

    def snapshot(self) -> S:
        self.parked = self._quiet
        return self.position()

    def close(self) -> None:
        self.stop.leave(self)
