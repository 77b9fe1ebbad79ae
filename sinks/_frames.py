"""Frames as they wait in the spool, one row each with the list of its observations, and the rows made of them.

What the observations of a frame have in common is repeated in Arrow when a file is written, not in Python before.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Final

from assets.frame import CLOCK_SKEW, Frame, Observation, Tick
from sinks._columns import INSTANT, OBSERVATIONS, VALUE, Array, DataType, RecordBatch, Table, pa, pc, value_columns

_OBSERVATION: Final = pa.struct(
    {"item": pa.string(), "source_time": pa.int64(), "status": pa.uint32(), "flags": pa.uint16(), **VALUE}
)
FRAMES: Final = pa.schema(
    {
        "asset": pa.string(),
        "source": pa.string(),
        "received": pa.int64(),
        "offset": pa.int64(),
        "observations": pa.list_(_OBSERVATION),
    }
)
_UNFOLDED_BYTES: Final = 64 << 20
"""So much of a spool is unfolded in one piece: an Arrow array holds 2 GiB of text at most."""
_YEARS_US: Final = range(-62_135_596_800_000_000, 253_402_300_800_000_000)
"""Years 1 to 9999: what a calendar date can say."""


def gather_frames(_partition: int, offsets: Sequence[int], records: Sequence[Frame | Tick]) -> RecordBatch:
    """One row per frame; ticks make none."""
    frames = [record for record in records if type(record) is Frame]
    if len(frames) < len(records):
        offsets = [offset for offset, record in zip(offsets, records, strict=True) if type(record) is Frame]
    try:
        return _gathered(offsets, frames)
    except (OverflowError, UnicodeError, pa.ArrowException):  # a number or text that no gateway of ours writes
        return _gathered(offsets, [_tamed(frame) for frame in frames])


def _gathered(offsets: Sequence[int], frames: Sequence[Frame]) -> RecordBatch:
    lists = [frame.observations for frame in frames]
    flat = list(chain.from_iterable(lists))
    marked = bool([o for o in flat if o.status or o.flags])  # mostly none; any() would take twice as long
    observations = [
        pa.array([o.item for o in flat], pa.string()),
        _instants([o.source_time for o in flat]),
        pa.array([o.status for o in flat], pa.uint32()) if marked else _zeros(len(flat), pa.uint32()),
        pa.array([o.flags for o in flat], pa.uint16()) if marked else _zeros(len(flat), pa.uint16()),
        *value_columns([o.value for o in flat]),
    ]
    bounds = pa.array([0, *accumulate(map(len, lists))], pa.int32())
    columns = [
        pa.array([frame.asset for frame in frames], pa.string()),
        pa.array([frame.source for frame in frames], pa.string()),
        _instants([frame.received for frame in frames]),
        pa.array(offsets, pa.int64()),
        pa.ListArray.from_arrays(bounds, pa.StructArray.from_arrays(observations, type=_OBSERVATION)),
    ]
    return pa.record_batch(columns, schema=FRAMES)


def _instants(times: list[int] | list[int | None]) -> Array:
    instants = pa.array(times, pa.int64())
    extremes = pc.min_max(instants).as_py()
    if extremes["min"] is not None and not (extremes["min"] in _YEARS_US and extremes["max"] in _YEARS_US):
        raise OverflowError("an instant outside of the years 1 to 9999")
    return instants


def _zeros(count: int, kind: DataType) -> Array:
    return pa.repeat(pa.scalar(0, kind), count)


def unfold_frames(partition: int, batches: Sequence[RecordBatch]) -> Table:
    """One row per observation, in the order of the stream."""
    unfolded = [_unfolded(partition, pa.concat_batches(group)) for group in _groups(batches)]
    return pa.Table.from_batches(unfolded, OBSERVATIONS)


def _groups(batches: Sequence[RecordBatch]) -> Iterator[list[RecordBatch]]:
    """Neighbours that are unfolded together."""
    group: list[RecordBatch] = []
    size = 0
    for batch in batches:
        if group and size + batch.nbytes > _UNFOLDED_BYTES:
            yield group
            group, size = [], 0
        group.append(batch)
        size += batch.nbytes
    if group:
        yield group


def _unfolded(partition: int, frames: RecordBatch) -> RecordBatch:
    lists = frames["observations"]
    item, source_time, status, flags, *values = lists.flatten().flatten()
    frame_of = pc.list_parent_indices(lists)
    asset, source, received, offset, first = (column.take(frame_of) for column in (*frames.columns[:4], lists.offsets))
    skewed = pc.not_equal(pc.bit_wise_and(flags, pa.scalar(CLOCK_SKEW, pa.uint16())), 0)
    ts = pc.if_else(skewed, received, pc.coalesce(source_time, received))
    columns = [
        asset,
        item,
        ts.cast(INSTANT),
        pc.subtract(received, ts),
        pa.repeat(pa.scalar(partition, pa.int16()), len(item)),
        offset,
        pc.subtract(pa.arange(0, len(item)), first).cast(pa.int16()),
        status,
        flags,
        *values,
        source,
    ]
    return pa.record_batch(columns, schema=OBSERVATIONS)


def _tamed(frame: Frame) -> Frame:
    """The frame with what fits no column left out: an instant outside the calendar is none."""
    received = frame.received if frame.received in _YEARS_US else 0
    tame = [
        Observation(
            _text(o.item),
            _text(o.value) if isinstance(o.value, str) else o.value,
            o.status & 0xFFFFFFFF,
            o.source_time if o.source_time is not None and o.source_time in _YEARS_US else None,
            o.flags & 0xFFFF,
        )
        for o in frame.observations
    ]
    return Frame(
        frame.v, _text(frame.asset), _text(frame.source), frame.gateway, frame.run, frame.seq, received, "", tame
    )


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
