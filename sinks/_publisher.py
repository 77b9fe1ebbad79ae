"""Publishes live values in batches behind one acknowledgement, over one connection, again and again until stored."""

import asyncio
import logging
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.errors import BadSubjectError, Error, MaxPayloadError
from nats.js import JetStreamContext

from assets.batch import LiveValue
from assets.connection import NatsConnection
from assets.newest import Newest
from sinks._batches import way_of
from sinks._handover import Handover
from sinks._jetstream import IDLE_S, RETRY_S, TIMEOUT_S, host, while_connected
from sinks._live_store import mark_anew, open_store, read_stored, store_id
from sinks._wait import Stopping

log = logging.getLogger(__name__)

MOST_WAITING: Final = 20_000
"""Messages that may wait for an acknowledgement before the flow is held up."""
CHECK_S: Final = 2.0

_SUBJECT: Final = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")


class StoreLostError(RuntimeError):
    """The store of live values has lost what this flow had published; the next start reads it from Kafka again."""


class Publisher:
    """A thread with its own event loop and one connection, shared by all partitions.

    It keeps the newest value of every subject, so that a store that was lost can be filled again.
    """

    def __init__(self, connection: NatsConnection, stop: Stopping, stream: str, prefix: str, copy: str = "0/1") -> None:
        self._connection, self._stream, self._prefix = connection, stream, prefix
        self._host = host(connection)
        self._copy, self._copies = map(int, copy.split("/"))
        self._way = way_of(stream, prefix, copy)
        self.handover: Handover[LiveValue] = Handover(
            stop, f"publish live values to NATS at {self._host}", MOST_WAITING
        )
        self._store: str | None = None
        self._reached = 0
        self._disown = False
        self._newest: dict[int, Newest] = {}
        self._again: list[LiveValue] = []
        self._found = ""
        self._batch: list[LiveValue] = []
        self._away = False
        self._closing = False
        self._users = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def join(self) -> None:
        """One more partition uses it."""
        with self._lock:
            self._users += 1
        self._start()

    def leave(self) -> None:
        """One partition less; the last ends the thread. Publishes nothing: a crash closes, too."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._thread is not None:
                self._closing = True
                self.handover.ring()
                self._thread.join(TIMEOUT_S)

    def reached(self) -> tuple[str, int]:
        """The store that holds all that is done, and its newest sequence number."""
        self._start()
        self.handover.until(lambda: self._store is not None)
        assert self._store is not None
        return self._store, self._reached

    def newest(self, partition: int) -> Newest:
        """What the store has of a partition; whoever writes keeps it up to date."""
        self.reached()
        return self._newest.setdefault(partition, Newest())

    def check(self, store: str, seq: int) -> None:
        """Raise `StoreLostError` when the store is the same but older than this; another one is noticed by its id."""
        found, reached = self.reached()
        if store != found or seq <= reached:
            return
        self._disown = True
        self.handover.ring()
        self.handover.until(lambda: not self._disown)
        raise StoreLostError(
            f'JetStream stream "{self._stream}" at {self._host} has lost its newest {seq - reached} {self._way.unit}; '
            "start the flow again: it will read the stream from its oldest record"
        )

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"nats-{self._stream}", daemon=True)
                self._thread.start()

    # From here on: the thread

    def _work(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # handed to the flow, which ends with it
            self.handover.fail(error)

    async def _main(self) -> None:
        wake, loop = asyncio.Event(), asyncio.get_running_loop()
        self.handover.ring = lambda: _ring(loop, wake)
        while not self._closing:
            try:
                await while_connected(self._connection, lambda client: self._session(client, wake))
            except (TimeoutError, OSError, Error) as error:
                if not self._away:
                    reason = str(error) or type(error).__name__
                    log.warning(
                        "lost NATS at %s: %s; %d messages wait, trying again",
                        *(self._host, reason, self.handover.waiting),
                    )
                self._away = True
                await asyncio.sleep(RETRY_S)

    async def _session(self, client: Client, wake: asyncio.Event) -> None:
        stream = client.jetstream(timeout=TIMEOUT_S)
        await open_store(stream, self._stream, self._prefix, atomic=self._way.atomic)
        await self._look(client, stream)
        if self._away:
            log.warning("NATS at %s is back", self._host)
            self._away = False
        clock = asyncio.get_running_loop().time
        checked = clock()
        self._way.begin()
        while not self._closing:
            wake.clear()
            if self._again or self._found != self._store:
                await self._repeat(client, stream)
            self._batch = self._batch or self.handover.take(self._way.most)
            if self._batch:
                await self._work_off(client, stream)
            else:
                await _rest(wake)
            if clock() - checked > CHECK_S or self._disown:
                await self._look(client, stream)
                checked = clock()

    async def _look(self, client: Client, stream: JetStreamContext) -> None:
        """Whether the store is the one we know; the first time also read what it holds."""
        last = await self._way.reached(stream)
        self._found = await store_id(stream, self._stream, self._prefix)
        if self._disown or (last < self._reached and self._found == self._store):
            await mark_anew(stream, self._prefix)
            self._found = await store_id(stream, self._stream, self._prefix)
        if self._store is None:
            stored = await read_stored(client, self._stream, len(self._prefix))
            self._newest = {partition: Newest(values) for partition, values in stored.items()}
            self._store, self._reached = self._found, last
        elif self._disown:
            self._store, self._disown = self._found, False
        elif self._found != self._store:
            self._again = self._all()
            self._reached = 0
            self._way.begin()
            log.warning(
                'JetStream stream "%s" at %s was emptied or made anew; publishing all %d newest values again',
                *(self._stream, self._host, len(self._again)),
            )
        self.handover.notify()

    def _all(self) -> list[LiveValue]:
        """The newest values of the partitions that are ours; some may still wait: then they are published twice."""
        own = [fold for p, fold in list(self._newest.items()) if p % self._copies == self._copy]
        return [value for fold in own for value in list(fold.values.values())]

    async def _repeat(self, client: Client, stream: JetStreamContext) -> None:
        """Fill the store again; only then does it count as the one that holds all that is done."""
        while self._again:
            batch = self._again[: self._way.most]
            if (kept := await self._send(batch, client, stream)) is None:
                del self._again[: len(batch)]
            else:
                self._again[: len(batch)] = kept
        self._store = self._found

    async def _work_off(self, client: Client, stream: JetStreamContext) -> None:
        """Publish the batch; what is left of it is sent again."""
        kept = await self._send(self._batch, client, stream) or []
        count, self._batch = len(self._batch) - len(kept), kept
        self.handover.done(count)

    async def _send(self, batch: list[LiveValue], client: Client, stream: JetStreamContext) -> list[LiveValue] | None:
        """Publish messages and wait until all are stored; else those that are to be sent again."""
        try:
            reached = await self._way.send(batch, client, stream)
        except BadSubjectError:
            return self._drop(
                batch, "the subject is malformed", lambda value: _SUBJECT.fullmatch(value.subject) is not None
            )
        except MaxPayloadError:
            most = client.max_payload
            return self._drop(batch, f"the server takes {most} bytes at most", lambda value: len(value.payload) <= most)
        if isinstance(reached, str):
            log.warning("NATS at %s %s; sending them again", self._host, reached)
            return batch
        self._reached = reached
        return None

    def _drop(self, batch: list[LiveValue], reason: str, good: Callable[[LiveValue], bool]) -> list[LiveValue]:
        """Leave out what no server would ever take."""
        kept = [value for value in batch if good(value)]
        first = next((value for value in batch if not good(value)), None)
        gone = len(batch) - len(kept)
        log.error('could not publish %d messages, first "%s": %s; left out', gone, first and first.subject, reason)
        self._way.begin()
        return kept


def _ring(loop: asyncio.AbstractEventLoop, wake: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop has ended, and what it died of is told by the hand-over
        loop.call_soon_threadsafe(wake.set)


async def _rest(wake: asyncio.Event) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(wake.wait(), IDLE_S)
