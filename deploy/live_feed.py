"""What the live table is fed by: a thread that follows the live stream in NATS, newest values first."""

import asyncio
import threading
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

from assets.connection import NatsConnection
from sinks.nats import subscribe_last

STOP_TIMEOUT_S = 5.0


class LiveFeed:
    """Messages of the live stream, collected in the background until they are taken.

    `with LiveFeed(connection) as feed: feed.take()`. An outage of NATS is waited for; afterwards all newest values come
    again, so nothing that is shown stays wrong.
    """

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._messages: deque[tuple[str, bytes]] = deque()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)

    def take(self) -> list[tuple[str, bytes]]:
        """Subject and payload of what came since the last call, in order."""
        count = len(self._messages)
        return [self._messages.popleft() for _ in range(count)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        self._task = self._loop.create_task(self._follow())
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    async def _follow(self) -> None:
        async for last in subscribe_last(self._connection):
            self._messages.append((last.subject, last.payload))

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
