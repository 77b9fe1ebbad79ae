"""The JetStream stream of live values as a store with an id, which is gone when the stream is emptied or made anew."""

import secrets
from collections import defaultdict
from contextlib import suppress
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import APIError, NotFoundError

from assets.batch import LiveValue
from assets.condition import Refused
from sinks._jetstream import mark_subject, read_last, stream_config

FIRST_OF_SUBJECT: Final = {"Nats-Expected-Last-Subject-Sequence": "0"}
"""A message that is only stored when its subject has none: of two processes that make a store, one wins."""

LATER: Final = (404, 408, 429)
"""What a server may answer otherwise in a moment."""
OTHER_MADE: Final = 10058
"""Another process has made the stream since we asked."""


class _Ordered(msgspec.Struct):
    origin: tuple[int, int, int]


async def open_store(stream: JetStreamContext, name: str, prefix: str, *, atomic: bool = False) -> None:
    """Find or make the stream; `atomic`: it has to take batches as a whole."""
    try:
        found = await _found(stream, name, prefix, atomic=atomic)
    except APIError as error:
        if error.code in LATER or error.err_code == OTHER_MADE or not 400 <= (error.code or 0) < 500:
            raise
        raise Refused(
            f'could not make or change JetStream stream "{name}": its server refuses it: {error.description} '
            f"({error.err_code}); change the stream or the limits of the account and start again"
        ) from None
    if atomic and not found.allow_atomic:
        raise Refused(
            f'could not publish live values to JetStream stream "{name}" in copies: its server takes no atomic '
            "batches; use nats-server 2.12 or newer, or run serve in one copy"
        )


async def _found(stream: JetStreamContext, name: str, prefix: str, *, atomic: bool) -> StreamConfig:
    """The stream as it is; what its operators have set (replicas, limits, placement) stays."""
    wanted = stream_config(name, prefix)
    wanted.allow_atomic = atomic or None
    try:
        found = (await stream.stream_info(name)).config
    except NotFoundError:
        return (await stream.add_stream(wanted)).config
    subjects = list(found.subjects or ())
    missing = [subject for subject in wanted.subjects or () if subject not in subjects]
    if missing or (atomic and not found.allow_atomic):
        found.subjects = subjects + missing
        found.allow_atomic = atomic or found.allow_atomic
        found = (await stream.update_stream(found)).config
    return found


async def store_id(stream: JetStreamContext, name: str, prefix: str) -> str:
    """The id of the store; one without gets one: nobody can have written to it what a flow relies on."""
    subject = mark_subject(prefix)
    try:
        mark = await stream.get_last_msg(name, subject)
    except NotFoundError:
        with suppress(APIError):
            await stream.publish(subject, _new_id(), headers=dict(FIRST_OF_SUBJECT))
        mark = await stream.get_last_msg(name, subject)
    return (mark.data or b"").decode()


async def mark_anew(stream: JetStreamContext, prefix: str) -> None:
    """Give the store another id: it has lost what flows relied on."""
    await stream.publish(mark_subject(prefix), _new_id())


def _new_id() -> bytes:
    return secrets.token_hex(8).encode()


async def read_stored(client: Client, stream: str, skip: int) -> dict[int, list[LiveValue]]:
    """What is stored, by partition; `skip`: the length of the prefix of all subjects."""
    decode = msgspec.json.Decoder(_Ordered).decode
    newest = {last.subject: last.payload async for last in read_last(client, stream, ">", follow=False)}
    stored: dict[int, list[LiveValue]] = defaultdict(list)
    for subject, payload in newest.items():
        with suppress(msgspec.DecodeError):
            origin = decode(payload).origin
            stored[origin[0]].append(LiveValue(subject[skip:], payload, *origin))
    return stored
