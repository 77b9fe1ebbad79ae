"""What travels through a flow behind Kafka: micro-batches keyed by partition.

One item of a stream is all the records one poll brought from one partition; per-asset objects live inside the
operators. That is several times faster than a stream of single events, and order per partition is plain to see.
"""

import msgspec

from assets.frame import DerivedEvent, Frame, Tick


class RawBatch(msgspec.Struct, gc=False):
    """Records of one partition as they came: `offsets`, `keys` and `values` are parallel.

    `first` is the offset this batch begins at, `next` the one to read after it (a hole is possible: `next` may be
    larger than the last offset plus one). `end`: the bounded source has nothing more in this partition.
    """

    topic: str
    partition: int
    first: int
    next: int
    offsets: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    end: bool = False


class Batch(msgspec.Struct, gc=False):
    """Decoded records of `asset-stream`: `records[i]` stands at `offsets[i]`."""

    partition: int
    first: int
    next: int
    offsets: list[int]
    records: list[Frame | Tick]
    end: bool = False


class DerivedBatch(msgspec.Struct, gc=False):
    """Decoded records of `asset-state.gN`: `events[i]` stands at `offsets[i]`."""

    partition: int
    first: int
    next: int
    offsets: list[int]
    events: list[DerivedEvent]
    end: bool = False


class Outgoing(msgspec.Struct, gc=False):
    """One record for Kafka. `id` names it for ever (origin and what was made of it), so a restart can skip it."""

    partition: int
    key: bytes | None
    value: bytes | None
    id: str = ""
    headers: list[tuple[str, bytes]] | None = None


class Rejected(msgspec.Struct, gc=False):
    """What a flow could not use: the original bytes, one of a closed set of reasons, a detail, and where it came from.

    `origin` is `topic/partition/offset` behind Kafka and `source/address/run/seq` in ingest.
    """

    raw: bytes | None
    reason: str
    detail: str
    origin: str
    partition: int = 0
    key: bytes | None = None


class LiveValue(msgspec.Struct, gc=False):
    """One message for live fan-out: the newest value of `subject`, and the origin that says how new it is.

    Without a payload it is an end: the subject disappears. With a dot as its last character all subjects that begin
    so disappear. What was said there before goes on under `moved_to`, if that is given: at another path of the asset,
    or under another name of the item.
    """

    subject: str
    payload: bytes
    partition: int
    offset: int
    index: int
    moved_to: str | None = None


def stream_key(partition: int) -> str:
    """The key of a stream inside a flow: the partition, written so that keys sort."""
    return f"{partition:04}"
