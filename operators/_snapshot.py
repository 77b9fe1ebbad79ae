"""The state of a step as versioned msgpack: what this program cannot read is refused with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

import msgspec


class SnapshotError(ValueError):
    """A snapshot that this version cannot read; deleting the recovery store costs a replay and no data."""


class _Versioned(Protocol):
    version: int


V = TypeVar("V", bound=_Versioned)
T = TypeVar("T")

_BYTES: Final = (0xC4, 0xC5, 0xC6)
"""How msgpack begins what is bytes."""


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


def packed(part: Any) -> msgspec.Raw:
    """A part of a state as msgpack; as JSON if it holds an integer beyond 64 bits, which msgpack cannot."""
    try:
        return msgspec.Raw(msgspec.msgpack.encode(part))
    except OverflowError:
        return msgspec.Raw(msgspec.msgpack.encode(msgspec.json.encode(part)))


def unpacked(part: msgspec.Raw, kind: type[T]) -> T:
    """Such a part again; raises `msgspec.DecodeError`."""
    if memoryview(part)[0] in _BYTES:
        return msgspec.json.decode(msgspec.msgpack.decode(part, type=bytes), type=kind)
    return msgspec.msgpack.decode(part, type=kind)
