"""One JetStream stream with the newest message of every subject: how to reach it, make it and read it."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.errors import ConnectionClosedError, Error
from nats.js.api import DeliverPolicy, DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from assets.condition import Unavailable
from assets.connection import NatsConnection

log = logging.getLogger(__name__)

STREAM: Final = "penstock"
MARK: Final = "penstock.store"
_MARKS: Final = re.compile(r"(\.\d+-of-\d+)?")
"""What may follow it: nothing (the store's id), or a copy; no item's id begins with a digit."""
TIMEOUT_S: Final = 5.0
RETRY_S: Final = 0.5
IDLE_S: Final = 1.0


class Last(NamedTuple):
    """A message of the stream; `behind`: how many more come before a reader has all newest values."""

    subject: str
    payload: bytes
    seq: int
    behind: int


async def last_values(connection: NatsConnection, stream: str = STREAM, subject: str = ">") -> dict[str, Last]:
    """The newest message of every subject, as a snapshot."""
    async with connect(connection) as client:
        found = {last.subject: last async for last in read_last(client, stream, subject, follow=False)}
        return {subject: last for subject, last in found.items() if last.payload}


async def subscribe_last(connection: NatsConnection, stream: str = STREAM, subject: str = ">") -> AsyncIterator[Last]:
    """The newest message of every subject, then each new one as it comes, without a hole between the two.

    For ever: when NATS was away it starts again with all newest values, so the last message of a subject is right.
    """
    while True:
        try:
            async with connect(connection) as client:
                async for last in read_last(client, stream, subject, follow=True):
                    if last.payload:
                        yield last
        except (TimeoutError, OSError, Error) as error:
            log.warning("lost NATS at %s: %s; trying again", host(connection), error)
            await asyncio.sleep(RETRY_S)


async def read_last(client: Client, stream: str, subject: str, *, follow: bool) -> AsyncIterator[Last]:
    """The newest message of every subject by one ordered consumer; `follow`: then each new one, for ever."""
    context = client.jetstream(timeout=TIMEOUT_S)
    state = (await context.stream_info(stream)).state
    if state.messages == 0 and not follow:
        return
    policy = DeliverPolicy.LAST_PER_SUBJECT
    subscription = await context.subscribe(subject, stream=stream, ordered_consumer=True, deliver_policy=policy)
    try:
        if not follow:
            info = await subscription.consumer_info()
            if not info.num_pending and not (info.delivered and info.delivered.consumer_seq):
                return  # what was delivered may still be on its way
        while True:
            try:
                message = await subscription.next_msg(timeout=IDLE_S)
            except TimeoutError:
                if client.is_closed:
                    raise ConnectionClosedError from None
                continue
            place = message.metadata
            if not _MARKS.fullmatch(message.subject.rpartition(MARK)[2]):
                yield Last(message.subject, message.data, place.sequence.stream, place.num_pending)
            if not follow and (place.num_pending == 0 or place.sequence.stream >= state.last_seq):
                return
    finally:  # else whoever publishes over this connection gets all of it sent back, and keeps it
        with suppress(Error):
            await subscription.unsubscribe()


def host(connection: NatsConnection) -> str:
    """Where a server is, without the secrets its URL may hold."""
    parts = [urlsplit(url if "://" in url else f"nats://{url}") for url in connection.url.split(",")]
    return ",".join(f"{part.hostname}:{part.port or 4222}" for part in parts)


@asynccontextmanager
async def connect(
    connection: NatsConnection, closed: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[Client]:
    """One connection that does not reconnect by itself: whoever uses it knows what has to be done again."""
    client = await nats.connect(
        connection.url.split(","),
        user_credentials=connection.credentials,
        allow_reconnect=False,
        connect_timeout=int(TIMEOUT_S),
        ping_interval=int(TIMEOUT_S),
        error_cb=_quiet,
        closed_cb=closed,
    )
    try:
        yield client
    finally:
        with suppress(OSError, Error, asyncio.TimeoutError):
            await client.close()


async def while_connected(connection: NatsConnection, use: Callable[[Client], Coroutine[None, None, None]]) -> None:
    """Use a connection until that is done; ends at once when the connection does (requests alone would time out)."""
    lost = asyncio.Event()

    async def closed() -> None:
        lost.set()

    async with connect(connection, closed) as client:
        using, losing = asyncio.create_task(use(client)), asyncio.create_task(lost.wait())
        done, _ = await asyncio.wait((using, losing), return_when=asyncio.FIRST_COMPLETED)
        for task in (using, losing):
            task.cancel()
        await asyncio.gather(using, losing, return_exceptions=True)
        if using in done:
            using.result()
        else:
            raise client.last_error or ConnectionClosedError


async def _quiet(error: Exception) -> None:
    log.debug("nats: %s", error)


def mark_subject(prefix: str) -> str:
    """The subject of the message that names the store; it is gone when the stream is emptied or made anew."""
    return prefix + MARK


def stream_config(name: str, prefix: str) -> StreamConfig:
    """One stream with one message per subject, for observations and derived state."""
    return StreamConfig(
        name=name,
        subjects=[f"{prefix}assets.>", f"{prefix}state.>", mark_subject(prefix), f"{mark_subject(prefix)}.*"],
        storage=StorageType.FILE,
        max_msgs_per_subject=1,
        discard=DiscardPolicy.OLD,
        allow_direct=True,
    )


async def delete_stream(connection: NatsConnection, stream: str) -> None:
    """Delete a stream with all its messages; one that is missing is no error. For commands: does not wait."""
    with _told(connection, f'delete stream "{stream}"'), suppress(NotFoundError):
        async with connect(connection) as client:
            await client.jetstream(timeout=TIMEOUT_S).delete_stream(stream)


async def find_last_values(connection: NatsConnection, stream: str = STREAM) -> dict[str, bytes] | None:
    """The newest payload of every subject; None: there is no such stream. For commands: does not wait."""
    with _told(connection, f'read stream "{stream}"'), suppress(NotFoundError):
        return {subject: last.payload for subject, last in (await last_values(connection, stream)).items()}
    return None


@contextmanager
def _told(connection: NatsConnection, purpose: str) -> Iterator[None]:
    try:
        yield
    except (TimeoutError, OSError, Error) as error:
        why = str(error).strip() or type(error).__name__
        raise Unavailable(f"could not {purpose}: NATS at {host(connection)} does not answer: {why}") from None
