"""A source run inside a test's own loop, and everything it hands over, to be waited for."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from assets.reading import Gap, Link, Message, Reading, Readings
from sources._devices import Outlet, Source

T = TypeVar("T")
DEADLINE_S = 60.0


@functools.cache
def the_loop() -> asyncio.Runner:
    """One loop for all tests that are coroutines, so that they may share a server that is slow to start."""
    return asyncio.Runner()


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test that is a coroutine, with a deadline."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        async def limited() -> None:
            async with asyncio.timeout(DEADLINE_S):
                await test(*arguments, **named)

        the_loop().run(limited())

    return run


class Recorder(Outlet):
    """Keeps all that a source hands over, in order, and wakes whoever waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self.unproved = 0
        self._news = asyncio.Event()

    def put(self, readings: Readings, *, proved: bool = True) -> None:
        super().put(readings, proved=proved)
        self.unproved += not proved
        self._take()

    def link(self, available: bool, reason: str = "") -> None:
        super().link(available, reason)
        self._take()

    def gap(self, gap: Gap, *, counted: bool = False) -> None:
        super().gap(gap, counted=counted)
        self._take()

    def prove(self) -> None:
        super().prove()
        self._news.set()

    def _take(self) -> None:
        self.messages += self.take()
        self._news.set()

    @property
    def links(self) -> list[Link]:
        return [message for message in self.messages if isinstance(message, Link)]

    @property
    def gaps(self) -> list[Gap]:
        return [message for message in self.messages if isinstance(message, Gap)]

    @property
    def batches(self) -> list[Readings]:
        return [message for message in self.messages if isinstance(message, Readings)]

    def readings(self, address: str) -> list[Reading]:
        """All readings of an address so far."""
        return [r for batch in self.batches for r in batch.readings if r.address == address]

    async def until(self, condition: Callable[["Recorder"], T]) -> T:
        """Wait until something holds."""
        while not (result := condition(self)):
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._news.wait()
        return result

    async def until_value(self, address: str, value: Any) -> Reading:
        """Wait until the newest reading of an address has this value."""
        await self.until(lambda r: any(reading.value == value for reading in r.readings(address)[-1:]))
        return self.readings(address)[-1]


@contextlib.asynccontextmanager
async def running(source: Source) -> AsyncIterator[Recorder]:
    """The source at work; at the end it is cancelled, as the bridge does on a stop."""
    recorder = Recorder()
    task = asyncio.create_task(source.run(recorder))
    try:
        yield recorder
    finally:
        failed = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not failed
