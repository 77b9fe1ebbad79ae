"""How a batch of live values is sent behind one acknowledgement, so that a loss on the way is noticed.

A server that has too much to do may drop messages without a word. Who writes alone notices it by the stream's sequence
numbers, which is cheapest. Copies that write side by side send atomic batches instead: the server takes all of one or
none, whatever others write; the last message of each is a mark of the copy with the number of the batch.
"""

import asyncio
import secrets
from typing import Final, Protocol

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import BadRequestError, NotFoundError

from assets.batch import LiveValue
from sinks._jetstream import RETRY_S, mark_subject

MOST_COUNTED: Final = 2_000
"""Messages behind one acknowledgement; a server drops what it cannot queue beyond 10 000."""
MOST_ATOMIC: Final = 499
"""The server takes 1 000 at most in one piece, and keeps readers waiting meanwhile."""


class Way(Protocol):
    """How one process sends; `unit` is what it counts."""

    atomic: bool
    most: int
    unit: str

    def begin(self) -> None:
        """A connection is new, or others have written: nothing is known of what the next acknowledgement will say."""

    async def reached(self, stream: JetStreamContext) -> int:
        """How far the store is with what this process (or one before it) has sent."""

    async def send(self, batch: list[LiveValue], client: Client, stream: JetStreamContext) -> int | str:
        """Send messages and wait until all are stored; returns how far the store is, or what went wrong."""


def way_of(name: str, prefix: str, copy: str) -> Way:
    """How copy i/N sends to a stream."""
    return _Counted(name, prefix) if copy.endswith("/1") else _Atomic(name, prefix, copy)


class _Counted:
    """The only writer: each message has the number after that of the one before it."""

    atomic = False
    most = MOST_COUNTED
    unit = "messages"

    def __init__(self, name: str, prefix: str) -> None:
        self._name, self._prefix = name, prefix
        self._seq: int | None = None

    def begin(self) -> None:
        self._seq = None

    async def reached(self, stream: JetStreamContext) -> int:
        return (await stream.stream_info(self._name)).state.last_seq

    async def send(self, batch: list[LiveValue], client: Client, stream: JetStreamContext) -> int | str:
        prefix, publish = self._prefix, client.publish
        if self._seq is None:  # the count begins with one message of which we know where it went
            self._seq = (await stream.publish(prefix + batch[0].subject, batch[0].payload)).seq
        for value in batch[:-1]:
            await publish(prefix + value.subject, value.payload)
        last = await stream.publish(prefix + batch[-1].subject, batch[-1].payload)
        lost, self._seq = self._seq + len(batch) - last.seq, last.seq
        return last.seq if lost <= 0 else f"lost {lost} of {len(batch)} messages"


class _Atomic:
    """One of several writers: a batch is stored whole, with the copy's mark, or not at all."""

    atomic = True
    most = MOST_ATOMIC
    unit = "batches"

    def __init__(self, name: str, prefix: str, copy: str) -> None:
        self._name, self._prefix = name, prefix
        self._mark = f"{mark_subject(prefix)}.{copy.replace('/', '-of-')}"
        self._number: int | None = None

    def begin(self) -> None:
        """Nothing depends on what others write."""

    async def reached(self, stream: JetStreamContext) -> int:
        try:
            stored = int((await stream.get_last_msg(self._name, self._mark)).data or b"0")
        except NotFoundError:
            stored = 0
        if self._number is None:
            self._number = stored
        return stored

    async def send(self, batch: list[LiveValue], client: Client, stream: JetStreamContext) -> int | str:
        number = (self._number or 0) + 1
        head = {"Nats-Batch-Id": secrets.token_hex(8)}
        for place, value in enumerate(batch, 1):
            await client.publish(
                self._prefix + value.subject, value.payload, headers={**head, "Nats-Batch-Sequence": str(place)}
            )
        commit = {**head, "Nats-Batch-Sequence": str(len(batch) + 1), "Nats-Batch-Commit": "1"}
        try:
            await stream.publish(self._mark, str(number).encode(), headers=commit)
        except BadRequestError as error:
            await asyncio.sleep(RETRY_S)
            return f"did not take {len(batch)} messages ({error.description})"
        self._number = number
        return number
