"""The records of the stream: this file is the wire contract.

One record of `asset-stream` is a `Frame` (its key is the asset) or a `Tick` (it has no key); one record of
`asset-state.gN` is a `DerivedEvent`. JSON, UTF-8, one version number in each. Every version ever written is kept in
`tests/assets/golden/` and must decode for ever.

All instants and durations are integer microseconds (instants since 1970-01-01T00:00:00Z). Statuses are OPC UA
StatusCodes (Part 4, 7.39). A value whose status is Bad is null.
"""

from collections.abc import Iterable
from contextlib import suppress
from enum import IntFlag
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from assets.fields import Count, Flags, Instant, SmallCount, StatusCode, Value, VersionNumber

VERSION: Final = 1
Version = Literal[1]
"""Checked in decoding; what a newer gateway writes is refused, whatever else it may look like."""

MOST_OBSERVATIONS: Final = (1 << 15) - 1
"""In one frame: readers number them with 16 bits."""


class Flag(IntFlag):
    """What a reader must know of an observation besides its status; the bits of `Observation.flags`."""

    INITIAL = 1
    """First value after a (re)connect, not a change: never moves time and is never a new sample."""
    KEYFRAME = 2
    """Repeated by the gateway, so that a reader may start here: never moves time, never a new sample."""
    REPLAYED = 4
    """Delivered late, from a queue that outlived a broken connection."""
    OVERFLOW = 8
    """The device's queue ran over just before this value (OPC UA Part 4, 7.39.1, Overflow)."""
    CLOCK_SKEW = 16
    """The source's clock is too far from the gateway's: the event time is `received`."""
    SUBSTITUTED = 32
    """The value could not be carried as it was (invalid text, for instance) and was replaced."""
    REDELIVERED = 64
    """May have been published before."""


NO_SAMPLE: Final = int(Flag.INITIAL | Flag.KEYFRAME)
"""An observation with one of these flags repeats what was known: it moves no time and counts as no sample."""

CLOCK_SKEW: Final = int(Flag.CLOCK_SKEW)


class Observation(msgspec.Struct, array_like=True, gc=False):
    """An item's value at an instant; on the wire `[item, value, status, source_time, flags]`.

    gc=False: a tracked container per observation would triple the cost of decoding (no cycles can form in JSON).
    """

    item: str
    value: Value = None
    status: StatusCode = 0
    source_time: Instant | None = None
    flags: Flags = 0
    time: int = 0
    """Event time; not on the wire: a keyed operator sets it (see `event_time`) before its logic sees it."""


class Frame(msgspec.Struct, gc=False):
    """Observations of one asset that were read together, from one source by one gateway.

    (gateway, run, seq) identifies the record: `run` is the instant at which the gateway started and `seq` counts
    1, 2, ... per asset and run, so any consumer sees a hole.
    """

    v: Version
    asset: str
    source: str
    gateway: str
    run: Instant
    seq: Count
    received: Instant
    model: str
    observations: Annotated[list[Observation], Meta(max_length=MOST_OBSERVATIONS)]


class SourceAccount(msgspec.Struct, gc=False, omit_defaults=True):
    """What one source took in since the gateway's start: received = published + suppressed + rejected + buffered.

    `mark` promises that everything the source received before this instant precedes the tick; null while the
    source's link is not proved. `suppressed` counts by rule, `rejected` by reason, `lost` what is known to be gone;
    `untold_since`: what was lost since this instant is no `_gap` yet. Left out when there is nothing of that kind.
    """

    mark: Instant | None
    received: Count
    published: Count
    suppressed: dict[str, int]
    rejected: dict[str, int]
    lost: Count
    untold_since: Instant | None = None


class Tick(msgspec.Struct, gc=False):
    """A second's heartbeat of one gateway in one partition: moves time, proves links, accounts.

    `seq` counts 1, 2, ... per partition and run.
    """

    v: Version
    gateway: str
    run: Instant
    seq: Count
    received: Instant
    sources: dict[str, SourceAccount]


class DerivedEvent(msgspec.Struct, gc=False):
    """A change of a metric of an asset, derived from the stream.

    `time` is the event time of the change. `since`, `until` and `duration` describe the interval that this change
    ended: `previous` was in force from `since` until `until`. `basis` is the origin (partition, offset, index) of the
    observation or tick that caused the change; `id` = origin:metric:n is unique and the same in every rebuild.
    """

    v: Version
    asset: str
    metric: str
    time: Instant
    value: Value
    previous: Value
    since: Instant | None
    until: Instant | None
    duration: Count | None
    status: StatusCode
    id: str
    basis: tuple[SmallCount, Count, SmallCount]
    operator: str
    operator_version: VersionNumber
    revision: VersionNumber = 0


class ContractError(ValueError):
    """A record that does not keep the contract of this file; the message says what is wrong.

    `reason` is one of a closed set: not_json, contract (a field is missing or of another type) or unknown_version.
    """

    def __init__(self, message: str, reason: str = "contract") -> None:
        super().__init__(message)
        self.reason = reason


_R = TypeVar("_R", Frame, Tick, DerivedEvent)

_encoder = msgspec.json.Encoder()
_frame = msgspec.json.Decoder(Frame)
_tick = msgspec.json.Decoder(Tick)
_event = msgspec.json.Decoder(DerivedEvent)


class _WireFrame(msgspec.Struct, gc=False):
    v: int
    asset: str
    source: str
    gateway: str
    run: Instant
    seq: Count
    received: Instant
    model: str
    observations: list[tuple[str, Value, int, int | None, int]]


def encode_frame(frame: Frame) -> bytes:
    """The record of a frame: observations without their event time, which readers compute."""
    return _encoder.encode(
        _WireFrame(
            frame.v,
            frame.asset,
            frame.source,
            frame.gateway,
            frame.run,
            frame.seq,
            frame.received,
            frame.model,
            [(o.item, o.value, o.status, o.source_time, o.flags) for o in frame.observations],
        )
    )


def encode_tick(tick: Tick) -> bytes:
    """The record of a tick."""
    return _encoder.encode(tick)


def encode_event(event: DerivedEvent) -> bytes:
    """The record of a derived event."""
    return _encoder.encode(event)


class _Head(msgspec.Struct):
    v: int


def _broken(noun: str, record: bytes, error: Exception) -> ContractError:
    if not isinstance(error, msgspec.ValidationError):
        return ContractError(f"not a {noun}: {error}", "not_json")
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # it may break further on
        if (version := msgspec.json.decode(record, type=_Head).v) != VERSION:
            return ContractError(f"version {version} of a {noun} is unknown; known is {VERSION}", "unknown_version")
    return ContractError(f"not a {noun}: {error}", "contract")


def _decode(decoder: msgspec.json.Decoder[_R], record: bytes, noun: str) -> _R:
    try:
        return decoder.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(noun, record, error) from None


def decode_frame(record: bytes) -> Frame:
    """Read the record of a frame; raises `ContractError`."""
    return _decode(_frame, record, "frame")


def decode_frames(records: Iterable[bytes]) -> list[Frame] | None:
    """Read many records without a line of Python for each; None if one of them is no frame."""
    try:
        return list(map(_frame.decode, records))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode_tick(record: bytes) -> Tick:
    """Read the record of a tick; raises `ContractError`."""
    return _decode(_tick, record, "tick")


def decode_event(record: bytes) -> DerivedEvent:
    """Read the record of a derived event; raises `ContractError`."""
    return _decode(_event, record, "derived event")


def event_time(observation: Observation, received: int) -> int:
    """The instant an observation belongs to: the device's time, unless it has none or its clock is skewed."""
    if observation.source_time is None or observation.flags & CLOCK_SKEW:
        return received
    return observation.source_time
