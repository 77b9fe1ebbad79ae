"""The state of a step as versioned msgpack: what this program cannot read is refused with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import msgspec


class SnapshotError(ValueError):
    """A snapshot that this version cannot read; deleting the recovery store costs a replay and no data."""


class _Versioned(Protocol):
    version: int


V = TypeVar("V", bound=_Versioned)
T = TypeVar("T")


@contextmanager
def opened(snapshot: bytes, kind: type[V], version: int, step: str) -> Iterator[V]:
    """The head of a snapshot; `SnapshotError` if it, or what is decoded of it inside, is not to be understood."""
    try:
        head = msgspec.msgpack.decode(snapshot, type=kind)
        if head.version != version:
            raise SnapshotError(
                f'snapshot of step "{step}" has version {head.version}, this program reads '
                f"{version}; go on with the newer program, or delete the recovery store of this flow"
            )
        yield head
    except msgspec.DecodeError as error:
        raise SnapshotError(
            f'snapshot of step "{step}" cannot be read: {error}; delete the recovery store of this flow'
        ) from None


def packed(state: msgspec.Struct, *parts: str) -> bytes:
    """A state as msgpack; these fields of it as JSON if they hold an integer beyond 64 bits, which msgpack cannot."""
    try:
        return msgspec.msgpack.encode(state)
    except OverflowError:
        written = {part: msgspec.json.encode(getattr(state, part)) for part in parts}
        return msgspec.msgpack.encode(msgspec.structs.replace(state, **written))


def unpacked(part: Any, kind: type[T]) -> T:
    """One of these fields again; raises `msgspec.DecodeError`."""
    return msgspec.json.decode(part, type=kind) if isinstance(part, bytes) else msgspec.convert(part, kind)
