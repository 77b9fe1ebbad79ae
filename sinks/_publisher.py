"""Publishes live values in batches behind one acknowledgement, over one connection, again and again until stored."""

import asyncio
import logging
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.errors import BadSubjectError, Error, MaxPayloadError
from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError

from assets.batch import LiveValue
from assets.connection import NatsConnection
from sinks._handover import Handover
from sinks._jetstream import IDLE_S, RETRY_S, TIMEOUT_S, host, read_last, stream_config, while_connected
from sinks._wait import Stopping

log = logging.getLogger(__name__)

MOST_BATCH: Final = 2_000
"""Messages behind one acknowledgement; a server drops what it cannot queue beyond 10 000."""
MOST_WAITING: Final = 20_000
"""Messages that may wait for an acknowledgement before the flow is held up."""
CHECK_S: Final = 10.0

Order = tuple[int, int]
_SUBJECT: Final = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")


class StreamLostError(RuntimeError):
    """The stream of live values is not the one this flow wrote to; the message says what to do."""


class Identity(msgspec.Struct, frozen=True):
    """What tells a store from one that was emptied or made anew: both numbers only grow."""

    created: str
    seq: int
    messages: int


class _Ordered(msgspec.Struct):
    origin: tuple[int, int, int]


class Publisher:
    """A thread with its own event loop and one connection, shared by all partitions."""

    def __init__(self, connection: NatsConnection, stop: Stopping, stream: str, prefix: str) -> None:
        self._connection, self._stream, self._prefix = connection, stream, prefix
        self._host = host(connection)
        self.handover: Handover[LiveValue] = Handover(
            stop, f"publish live values to NATS at {self._host}", MOST_WAITING
        )
        self._identity: Identity | None = None
        self._origins: dict[int, dict[str, Order]] = {}
        self._batch: list[LiveValue] = []
        self._seq: int | None = None
        self._away = False
        self._closing = False
        self._users = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def join(self) -> None:
        """One more partition uses it; the first starts the thread."""
        with self._lock:
            self._users += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"nats-{self._stream}", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        """One partition less; the last ends the thread. Publishes nothing: a crash closes, too."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._thread is not None:
                self._closing = True
                self.handover.ring()
                self._thread.join(TIMEOUT_S)

    @property
    def identity(self) -> Identity:
        """The store we write to."""
        self.handover.until(lambda: self._identity is not None)
        assert self._identity is not None
        return self._identity

    def stored(self, partition: int, known: Identity | None) -> dict[str, Order]:
        """What the store has of a partition, by subject; raises `StreamLostError`."""
        self._check(known, self.identity)
        return self._origins.pop(partition, {})

    def _check(self, known: Identity | None, found: Identity) -> None:
        if known is None:
            return
        if known.created != found.created or known.seq > found.seq or known.messages > found.messages:
            raise StreamLostError(
                f'JetStream stream "{self._stream}" at {self._host} was emptied or made anew, so values are missing '
                "in it; stop the flow, delete its recovery store and start it again: all values come back from Kafka"
            )

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
        await self._open(client, stream)
        clock = asyncio.get_running_loop().time
        checked, self._seq = clock(), None
        while not self._closing:
            wake.clear()
            self._batch = self._batch or self.handover.take(MOST_BATCH)
            if self._batch:
                await self._send(client, stream)
            else:
                await _rest(wake)
            if clock() - checked > CHECK_S:
                self._look(await stream.stream_info(self._stream))
                checked = clock()

    async def _open(self, client: Client, stream: JetStreamContext) -> None:
        """Find or make the stream; the first time also read what it holds."""
        try:
            info = await stream.stream_info(self._stream)
        except NotFoundError:
            self._check(self._identity, Identity("", 0, 0))
            info = await stream.add_stream(stream_config(self._stream, self._prefix))
        if self._identity is None:
            self._origins = await _origins(client, self._stream, len(self._prefix))
        self._look(info)
        if self._away:
            log.warning("NATS at %s is back", self._host)
            self._away = False
        self.handover.notify()

    def _look(self, info: StreamInfo) -> None:
        found = Identity(str(info.created), info.state.last_seq, info.state.messages)
        self._check(self._identity, found)
        self._identity = found

    async def _send(self, client: Client, stream: JetStreamContext) -> None:
        """Publish the batch and wait until all of it is stored."""
        batch, prefix, publish = self._batch, self._prefix, client.publish
        try:
            if self._seq is None:  # the count begins with one message of which we know where it went
                self._seq = (await stream.publish(prefix + batch[0].subject, batch[0].payload)).seq
            for value in batch[:-1]:
                await publish(prefix + value.subject, value.payload)
            last = await stream.publish(prefix + batch[-1].subject, batch[-1].payload)
        except BadSubjectError:
            self._drop("the subject is malformed", lambda value: _SUBJECT.fullmatch(value.subject) is not None)
        except MaxPayloadError:
            most = client.max_payload
            self._drop(f"the server takes {most} bytes at most", lambda value: len(value.payload) <= most)
        else:
            self._confirm(last.seq)

    def _confirm(self, seq: int) -> None:
        assert self._seq is not None
        assert self._identity is not None
        lost = self._seq + len(self._batch) - seq
        self._seq = seq
        if lost > 0:
            log.warning("NATS at %s lost %d of %d messages; sending them again", self._host, lost, len(self._batch))
            return
        self._identity = Identity(self._identity.created, seq, self._identity.messages)
        count, self._batch = len(self._batch), []
        self.handover.done(count)

    def _drop(self, reason: str, good: Callable[[LiveValue], bool]) -> None:
        """Leave out what no server would ever take."""
        kept = [value for value in self._batch if good(value)]
        gone = len(self._batch) - len(kept)
        first = next((value for value in self._batch if not good(value)), None)
        log.error('could not publish %d messages, first "%s": %s; left out', gone, first and first.subject, reason)
        self._batch = kept
        self._seq = None
        self.handover.done(gone)


def _ring(loop: asyncio.AbstractEventLoop, wake: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop has ended, and what it died of is told by the hand-over
        loop.call_soon_threadsafe(wake.set)


async def _rest(wake: asyncio.Event) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(wake.wait(), IDLE_S)


async def _origins(client: Client, stream: str, skip: int) -> dict[int, dict[str, Order]]:
    """What is stored, by partition and subject (without its prefix)."""
    decode = msgspec.json.Decoder(_Ordered).decode
    origins: dict[int, dict[str, Order]] = defaultdict(dict)
    async for last in read_last(client, stream, ">", follow=False):
        with suppress(msgspec.DecodeError):
            partition, offset, index = decode(last.payload).origin
            origins[partition][last.subject[skip:]] = (offset, index)
    return origins
