"""A source at work: a thread with its own event loop, and a bounded hand-over to the flow.

Keep-alives and reconnects go on while the engine drains an epoch, and the engine never waits for a device. When the
hand-over is full a source stops asking its device, so the device's own queue takes the pressure first.
"""

import asyncio
import collections
import logging
import threading
import time
from typing import Final, Protocol

from assets.reading import Gap, Link, Mark, Message, Readings
from sources._clock import Clock

log = logging.getLogger(__name__)

MARK_INTERVAL_S: Final = 1.0
MOST_READINGS: Final = 100_000
"""Readings that may wait for the flow, per source, before the device is no longer asked."""
ROOM_POLL_S: Final = 0.005
STOP_TIMEOUT_S: Final = 5.0
"""How long a source may take to leave its device in good order, before the flow ends without it."""
RESTART_DELAY_S: Final = 5.0
_clock: Final = Clock()


def now_us() -> int:
    """The gateway's clock, in microseconds."""
    return _clock.now()


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
        self.untold_since: int | None = None
        """Since when (us) something is being lost that is told as a gap later; a kill must not hide it."""
        self._taken = 0
        self._most = most
        self._proved = False
        self._available: bool | None = None
        self._heard_at = now_us()
        self._failed: tuple[int, str] | None = None

    @property
    def waiting(self) -> int:
        """Readings the flow has not taken yet: each of the two counters has one writer, so no lock is needed."""
        return self.received - self._taken

    def put(self, readings: Readings, *, proved: bool = True) -> None:
        """Hand over what was read together; proves the link, unless the gateway itself says what could not be read."""
        self.received += len(readings.readings)
        if proved:
            self._prove(readings.received)
        self.queue.append(readings)

    async def room(self) -> None:
        """Wait until the flow has caught up; to be awaited before a device is asked for more."""
        while self.waiting >= self._most:
            await asyncio.sleep(ROOM_POLL_S)

    def prove(self) -> None:
        """The link answered without data (a keep-alive)."""
        self._prove(now_us())

    def _prove(self, at: int) -> None:
        """The device answers; what was missed since a defect is told first."""
        self._proved = True
        self._heard_at = at
        if self._failed is not None:
            (since, reason), self._failed = self._failed, None
            self.gap(Gap([], since, at, reason))

    def link(self, available: bool, reason: str = "") -> None:
        """Say whether the device can be reached; repeating what was said is harmless."""
        self._proved = available
        if available != self._available:
            self._available = available
            self.queue.append(Link(now_us(), available, reason))

    def fail(self, reason: str) -> None:
        """The source ended by a defect, and starts again."""
        self.link(False, reason)
        self._failed = self._failed or (self._heard_at, reason)

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
        since = self.untold_since
        self.queue.append(Mark(now_us(), self._proved, self.received, self.lost, last, untold_since=since))
        self._proved = False

    def take(self, *, to_mark: bool = False) -> list[Message]:
        """Everything handed over so far, or only up to the next mark (called by the flow's thread)."""
        taken = []
        for _ in range(len(self.queue)):
            taken.append(self.queue.popleft())
            if to_mark and isinstance(taken[-1], Mark):
                break
        self._taken += sum(len(message.readings) for message in taken if isinstance(message, Readings))
        return taken


class DeviceThread:
    """One source, reading from now on until it is ended."""

    def __init__(self, source: Source) -> None:
        self.outlet = Outlet()
        self._source = source
        self._ending = threading.Event()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._work, name=f"source-{source.name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let the source leave its device; returns at once."""
        if not self._ending.is_set():
            self._deadline = time.monotonic() + 2 * STOP_TIMEOUT_S
            self._ending.set()

    @property
    def ended(self) -> bool:
        """Whether it has left, or takes too long; its last words were handed over before."""
        return not self._thread.is_alive() or (self._deadline is not None and time.monotonic() > self._deadline)

    def join(self) -> None:
        """Wait until it has left, for a while."""
        self._thread.join(STOP_TIMEOUT_S)

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
        self.outlet.mark(last=True)
        self.outlet.link(False, "the gateway was stopped")

    async def _keep_reading(self) -> None:
        while True:
            try:
                await self._source.run(self.outlet)
                reason = "it ended by itself"
            except asyncio.CancelledError:
                if self._ending.is_set():
                    raise
                reason = "a request was cancelled"  # by a library: not because we end
                log.warning(
                    'source "%s" ended: %s; it starts again in %g s', self._source.name, reason, RESTART_DELAY_S
                )
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                log.exception('source "%s" failed; it starts again in %g s', self._source.name, RESTART_DELAY_S)
            self.outlet.fail(reason)
            await asyncio.sleep(RESTART_DELAY_S)

    async def _mark(self) -> None:
        while True:
            await asyncio.sleep(MARK_INTERVAL_S)
            self.outlet.mark()
