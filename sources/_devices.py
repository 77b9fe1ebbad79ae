"""The bridge from devices to the flow: one thread with its own event loop per source, and a bounded hand-over.

Keep-alives and reconnects go on while the engine drains an epoch, and the engine never waits for a device. When the
hand-over is full a source stops asking its device, so the device's own queue takes the pressure first.
"""

import asyncio
import collections
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

from bytewax.inputs import FixedPartitionedSource

from assets.reading import Gap, Link, Mark, Message, Readings
from sources._overflow import Overflow
from sources._partition import LONGEST_WAIT_MS, Partition, Stop

log = logging.getLogger(__name__)

MARK_INTERVAL_S: Final = 1.0
MOST_READINGS: Final = 100_000
"""Readings that may wait for the flow, per source, before the device is no longer asked."""
ROOM_POLL_S: Final = 0.005
IDLE_MS: Final = 5
STOP_TIMEOUT_S: Final = 5.0
"""How long a source may take to leave its device in good order, before the flow ends without it."""
RESTART_DELAY_S: Final = 5.0


def now_us() -> int:
    """The gateway's clock, in microseconds."""
    return time.time_ns() // 1_000


class Source(Protocol):
    """A connection to one device or server, as a protocol's file implements it."""

    name: str

    async def run(self, outlet: "Outlet") -> None:
        """Connect, read, reconnect, until cancelled; then leave the device in good order.

        A failing device is reported (`outlet.link`) and tried again here; only a defect of our own may escape.
        """


class Outlet:
    """Where a source puts what it has read; used inside the source's own loop, never blocks, keeps order."""

    def __init__(self, most: int = MOST_READINGS) -> None:
        self.queue: collections.deque[Message] = collections.deque()
        self.received = 0
        self.lost = 0
        self._taken = 0
        self._most = most
        self._proved = False
        self._available: bool | None = None

    @property
    def waiting(self) -> int:
        """Readings the flow has not taken yet: each of the two counters has one writer, so no lock is needed."""
        return self.received - self._taken

    def put(self, readings: Readings, *, proved: bool = True) -> None:
        """Hand over what was read together; proves the link, unless the gateway itself says what could not be read."""
        self.received += len(readings.readings)
        self.queue.append(readings)
        self._proved = self._proved or proved

    async def room(self) -> None:
        """Wait until the flow has caught up; to be awaited before a device is asked for more."""
        while self.waiting >= self._most:
            await asyncio.sleep(ROOM_POLL_S)

    def prove(self) -> None:
        """The link answered without data (a keep-alive)."""
        self._proved = True

    def link(self, available: bool, reason: str = "") -> None:
        """Say whether the device can be reached; repeating what was said is harmless."""
        self._proved = available
        if available != self._available:
            self._available = available
            self.queue.append(Link(now_us(), available, reason))

    def lose(self, count: int) -> None:
        """Count values that are gone, before it is told as a gap."""
        self.lost += count

    def gap(self, gap: Gap, *, counted: bool = False) -> None:
        """Say what could not be read; `counted`: its losses are counted already."""
        if not counted:
            self.lose(gap.lost or 0)
        self.queue.append(gap)

    def mark(self, last: bool = False) -> None:
        """Say that everything received until now has been handed over; `last`: and that nothing more will come."""
        self.queue.append(Mark(now_us(), self._proved, self.received, self.lost, last))
        self._proved = False

    def take(self) -> list[Message]:
        """Everything handed over so far (called by the flow's thread)."""
        taken = [self.queue.popleft() for _ in range(len(self.queue))]
        self._taken += sum(len(message.readings) for message in taken if isinstance(message, Readings))
        return taken


class _DevicePartition(Partition[tuple[str, list[Message]], None]):
    """One source inside the engine: its thread is started here and ended with the flow.

    Nothing is kept in the recovery store: what was published stands in Kafka, and a device cannot be rewound.
    """

    def __init__(self, source: Source, stop: Stop, full: Callable[[], bool]) -> None:
        super().__init__(stop, IDLE_MS)
        self._source = source
        self._outlet = Outlet()
        self._overflow = Overflow(full)
        self._ending = threading.Event()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._work, name=f"source-{source.name}", daemon=True)
        self._thread.start()

    def read(self) -> list[tuple[str, list[Message]]]:
        taken = self._overflow.take(self._outlet.take())
        return [(self._source.name, taken)] if taken else []

    def drained(self) -> bool:
        self._end()
        ended = not self._thread.is_alive() or self._late()  # asked first: its last words come before its end
        return ended and not self._outlet.queue

    def position(self) -> None:
        return None

    def close(self) -> None:
        self._end()
        self._thread.join(STOP_TIMEOUT_S)
        super().close()

    def _end(self) -> None:
        if not self._ending.is_set():
            self._deadline = time.monotonic() + 2 * STOP_TIMEOUT_S
            self._ending.set()

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _work(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception:
            log.exception('source "%s" ended by a defect; its assets become unavailable', self._source.name)

    async def _main(self) -> None:
        reading = asyncio.create_task(self._keep_reading())
        marking = asyncio.create_task(self._mark())
        await asyncio.to_thread(self._ending.wait)
        for task in (reading, marking):
            task.cancel()
        _, late = await asyncio.wait((reading, marking), timeout=STOP_TIMEOUT_S)
        if late:
            log.warning('source "%s" did not leave its device within %g s', self._source.name, STOP_TIMEOUT_S)
        self._outlet.mark(last=True)
        self._outlet.link(False, "the gateway was stopped")

    async def _keep_reading(self) -> None:
        while True:
            try:
                await self._source.run(self._outlet)
                reason = "it ended by itself"
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                log.exception('source "%s" failed; it starts again in %g s', self._source.name, RESTART_DELAY_S)
            self._outlet.link(False, reason)
            await asyncio.sleep(RESTART_DELAY_S)

    async def _mark(self) -> None:
        while True:
            await asyncio.sleep(MARK_INTERVAL_S)
            self._outlet.mark()


class Devices(FixedPartitionedSource[tuple[str, list[Message]], None]):
    """All sources of a gateway; one engine partition each, keyed by the source's name.

    Guarantee: at most once up to the hand-over (a device's unread changes are lost while the flow is down, and the
    loss is written as `_gap`); effectively once from there to Kafka, as far as there is room to wait for it.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        stop: Stop,
        full: Callable[[], bool] = lambda: False,
        known: Collection[str] = (),
    ) -> None:
        """While `full` says so, nothing can be stored: what is read is dropped, counted, and told as a gap.

        `known` names the partitions that the recovery store knows: the engine ends if one of them has gone.
        """
        self._sources = dict(sources)
        self._gone = [name for name in known if name not in self._sources]
        self._stop = stop
        self._full = full

    def list_parts(self) -> list[str]:
        return [*self._sources, *self._gone]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Any:
        if for_part in self._gone:
            return _GonePartition(self._stop, LONGEST_WAIT_MS)
        return _DevicePartition(self._sources[for_part], self._stop, self._full)


class _GonePartition(Partition[tuple[str, list[Message]], None]):
    """A source that is in the plant no more: it says nothing."""

    def read(self) -> list[tuple[str, list[Message]]]:
        return []

    def position(self) -> None:
        return None
