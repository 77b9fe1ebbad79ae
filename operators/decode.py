"""Turn records into frames, ticks and derived events; what breaks the contract becomes a dead letter, not an error."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from assets.batch import Batch, DerivedBatch, RawBatch, Rejected
from assets.frame import (
    ContractError,
    DerivedEvent,
    Frame,
    Tick,
    decode_event,
    decode_frame,
    decode_frames,
    decode_tick,
)
from assets.stream import ASSET_STREAM, partition_of

MOST_BYTES: Final = 1 << 20
"""A record above this size is no frame of a gateway (they split at 256 KiB)."""
_ASSET: Final = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Frames:
    """Decoded batches of `asset-stream`, and what could not be decoded."""

    oks: KeyedStream[Batch]
    errs: KeyedStream[list[Rejected]]


@dataclass(frozen=True)
class Events:
    """Decoded batches of `asset-state.gN`, and what could not be decoded."""

    oks: KeyedStream[DerivedBatch]
    errs: KeyedStream[list[Rejected]]


@dataclass(frozen=True)
class Decoded:
    """Decoded batches of both topics, and what could not be decoded of either."""

    frames: KeyedStream[Batch]
    events: KeyedStream[DerivedBatch]
    errs: KeyedStream[list[Rejected]]


class FrameDecoder:
    """Decodes records of `asset-stream`: a key means a frame of that asset, no key means a tick."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._known: dict[int, set[str]] = {}
        """By partition the assets that were found to live there."""

    def __call__(self, raw: RawBatch) -> tuple[Batch, list[Rejected]]:
        frames = self._frames(raw)
        if frames is None:
            return self._each(raw)
        return Batch(raw.partition, raw.first, raw.next, raw.offsets, [*frames], raw.end), []

    def _frames(self, raw: RawBatch) -> list[Frame] | None:
        """The usual batch, frames of known assets under their keys, without a line of Python per record; else None."""
        values = [value for value in raw.values if value is not None and len(value) <= MOST_BYTES]
        if len(values) < len(raw.values) or (frames := decode_frames(values)) is None:
            return None
        assets = [frame.asset for frame in frames]
        if list(map(str.encode, assets)) != raw.keys or not self._known.get(raw.partition, set()).issuperset(assets):
            return None
        return frames

    def _each(self, raw: RawBatch) -> tuple[Batch, list[Rejected]]:
        """The records one by one: frames and ticks, and what is neither."""
        records: list[Frame | Tick] = []
        failed: dict[int, Rejected] = {}
        values, known, add = raw.values, self._known.setdefault(raw.partition, set()), records.append
        for i, key in enumerate(raw.keys):
            value = values[i]
            try:
                if key is None or value is None or len(value) > MOST_BYTES:
                    add(_tick(key, value))
                    continue
                frame = decode_frame(value)
                if frame.asset not in known or frame.asset.encode() != key:
                    self._check_key(frame.asset, key, raw.partition)
                    known.add(frame.asset)
                add(frame)
            except ContractError as error:
                failed[i] = _rejected(raw, raw.offsets[i], key, value, error)
        offsets = [offset for i, offset in enumerate(raw.offsets) if i not in failed] if failed else raw.offsets
        return Batch(raw.partition, raw.first, raw.next, offsets, records, raw.end), list(failed.values())

    def _check_key(self, asset: str, key: bytes, partition: int) -> None:
        """Checked once per asset and partition: the key is the asset, and the asset lives in this partition."""
        if asset.encode() != key:
            raise ContractError(f'the key is {key!r}, the asset is "{asset}"', "wrong_key")
        if not _ASSET.fullmatch(asset):
            raise ContractError(f'"{asset}" is no asset id; an id matches {_ASSET.pattern}', "invalid_asset")
        home = partition_of(asset, self._partitions)
        if home != partition:
            raise ContractError(f'asset "{asset}" belongs into partition {home} (murmur2)', "wrong_partition")


def decode_events(raw: RawBatch) -> tuple[DerivedBatch, list[Rejected]]:
    """Decode records of `asset-state.gN`."""
    offsets: list[int] = []
    events: list[DerivedEvent] = []
    rejected: list[Rejected] = []
    for offset, key, value in zip(raw.offsets, raw.keys, raw.values, strict=True):
        try:
            if value is None or len(value) > MOST_BYTES:
                raise _size_error(value)
            events.append(decode_event(value))
            offsets.append(offset)
        except ContractError as error:
            rejected.append(_rejected(raw, offset, key, value, error))
    return DerivedBatch(raw.partition, raw.first, raw.next, offsets, events, raw.end), rejected


def _tick(key: bytes | None, value: bytes | None) -> Tick:
    """What has no key is a tick; a record without a value or of an absurd size is nothing."""
    if key is not None or value is None or len(value) > MOST_BYTES:
        raise _size_error(value)
    return decode_tick(value)


def _size_error(value: bytes | None) -> ContractError:
    if value is None:
        return ContractError("the record has no value; the stream knows no tombstones", "null_value")
    return ContractError(f"the record has {len(value)} bytes; at most {MOST_BYTES} are allowed", "too_large")


def _rejected(raw: RawBatch, offset: int, key: bytes | None, value: bytes | None, error: ContractError) -> Rejected:
    origin = f"{raw.topic}/{raw.partition}/{offset}"
    return Rejected(value, error.reason, str(error), origin, raw.partition, key)


def _split(up: KeyedStream[RawBatch], decode: Callable[[RawBatch], tuple[Any, list[Rejected]]]) -> Any:
    decoded = op.map_value("records", up, decode)
    oks = op.map_value("oks", decoded, lambda both: both[0])
    errs = op.filter_map_value("errs", decoded, lambda both: both[1] or None)
    return oks, errs


@operator
def decode(
    step_id: str,
    up: KeyedStream[RawBatch],
    partitions: int,
) -> Frames:
    """Decode `asset-stream`, which has this number of partitions."""
    return Frames(*_split(up, FrameDecoder(partitions)))


@operator
def decode_derived(
    step_id: str,
    up: KeyedStream[RawBatch],
) -> Events:
    """Decode `asset-state.gN`."""
    return Events(*_split(up, decode_events))


@operator
def decode_both(step_id: str, up: KeyedStream[RawBatch], partitions: int) -> Decoded:
    """Decode `asset-stream` and `asset-state.gN`, which arrive by one input."""
    topics = op.branch("topics", up, lambda keyed: keyed[1].topic == ASSET_STREAM)
    frames = decode("frames", topics.trues, partitions)
    events = decode_derived("events", topics.falses)
    return Decoded(frames.oks, events.oks, op.merge("errs", frames.errs, events.errs))
