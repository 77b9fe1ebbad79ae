"""Rows of the archive as Arrow columns: one row per observation or derived event, with the way back to its record.

A value stands in the one column of its type (`v_num`, `v_int`, `v_bool`, `v_str`; `v_json` for lists, objects and
integers beyond 64 bits), null in all of them when it is null. Columns are only ever added.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow  # noqa: ICN001 - `pa` is the name without types
import pyarrow.compute
import pyarrow.parquet

from assets.frame import CLOCK_SKEW, DerivedEvent, Frame, Observation, Tick, Value

pa: Any = pyarrow  # its type stubs, where installed, know too few of the forms it takes
pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet

Schema = Any
Table = Any
RecordBatch = Any
Array = Any
DataType = Any

SCHEMA_VERSION: Final = 1

_INSTANT: Final = pa.timestamp("us", "UTC")
_VALUE: Final = {
    "v_num": pa.float64(),
    "v_int": pa.int64(),
    "v_bool": pa.bool_(),
    "v_str": pa.string(),
    "v_json": pa.string(),
}
OBSERVATIONS: Final = pa.schema(
    {
        "asset": pa.string(),
        "item": pa.string(),
        "ts": _INSTANT,
        "lag_us": pa.int64(),
        "part": pa.int16(),
        "offset": pa.int64(),
        "idx": pa.int16(),
        "status": pa.uint32(),
        "flags": pa.uint16(),
        **_VALUE,
        "source": pa.string(),
    }
)
DERIVED: Final = pa.schema(
    {
        "asset": pa.string(),
        "metric": pa.string(),
        "ts": _INSTANT,
        **_VALUE,
        "previous": pa.string(),
        "since": _INSTANT,
        "until": _INSTANT,
        "duration_us": pa.int64(),
        "status": pa.uint32(),
        "id": pa.string(),
        "basis_part": pa.int16(),
        "basis_offset": pa.int64(),
        "basis_idx": pa.int16(),
        "part": pa.int16(),
        "offset": pa.int64(),
        "operator": pa.string(),
        "operator_version": pa.int32(),
        "revision": pa.int32(),
    }
)
_INT64: Final = range(-(1 << 63), 1 << 63)
_YEARS_US: Final = range(-62_135_596_800_000_000, 253_402_300_800_000_000)
"""Years 1 to 9999: what a calendar date can say."""


def observation_rows(partition: int, offsets: Sequence[int], records: Sequence[Frame | Tick]) -> RecordBatch:
    """One row per observation; ticks make none."""
    frames = [record for record in records if type(record) is Frame]
    if len(frames) < len(records):
        offsets = [offset for offset, record in zip(offsets, records, strict=True) if type(record) is Frame]
    try:
        return _observations(partition, offsets, frames)
    except (OverflowError, UnicodeError, pa.ArrowException):  # a number or text that no gateway of ours writes
        return _observations(partition, offsets, [_tamed(frame) for frame in frames])


def _observations(partition: int, offsets: Sequence[int], frames: Sequence[Frame]) -> RecordBatch:
    flat = [o for frame in frames for o in frame.observations]
    count = len(flat)
    lengths = [len(frame.observations) for frame in frames]
    spread = _spread(lengths, count)
    received = spread(pa.array([frame.received for frame in frames], pa.int64()))
    flags = [o.flags for o in flat]
    ts = pc.coalesce(pa.array([o.source_time for o in flat], pa.int64()), received)
    if any(flags):
        skewed = pa.array([flag & CLOCK_SKEW > 0 for flag in flags], pa.bool_())
        ts = pc.if_else(skewed, received, ts)
    _check_years(ts)
    columns = [
        spread(pa.array([frame.asset for frame in frames], pa.string())),
        pa.array([o.item for o in flat], pa.string()),
        ts.cast(_INSTANT),
        pc.subtract(received, ts),
        pa.repeat(pa.scalar(partition, pa.int16()), count),
        spread(pa.array(offsets, pa.int64())),
        _counting(lengths, count),
        _mostly_zero([o.status for o in flat], pa.uint32()),
        _mostly_zero(flags, pa.uint16()),
        *_values([o.value for o in flat]),
        spread(pa.array([frame.source for frame in frames], pa.string())),
    ]
    return pa.record_batch(columns, schema=OBSERVATIONS)


def _spread(lengths: list[int], count: int) -> Callable[[Array], Array]:
    """How a column of frames becomes one of observations."""
    if len(lengths) == count and 0 not in lengths:
        return lambda column: column
    of = pa.array([i for i, length in enumerate(lengths) for _ in range(length)], pa.int32())
    return lambda column: column.take(of)


def _counting(lengths: list[int], count: int) -> Array:
    """0, 1, 2, ... within each frame."""
    if len(lengths) == count and 0 not in lengths:
        return pa.repeat(pa.scalar(0, pa.int16()), count)
    return pa.array([i for length in lengths for i in range(length)], pa.int16())


def _mostly_zero(numbers: list[int], kind: DataType) -> Array:
    return pa.array(numbers, kind) if any(numbers) else pa.repeat(pa.scalar(0, kind), len(numbers))


def derived_rows(partition: int, offsets: Sequence[int], events: Sequence[DerivedEvent]) -> RecordBatch:
    """One row per derived event."""
    columns = [
        pa.array([e.asset for e in events], pa.string()),
        pa.array([e.metric for e in events], pa.string()),
        pa.array([e.time for e in events], pa.int64()).cast(_INSTANT),
        *_values([e.value for e in events]),
        pa.array([None if e.previous is None else _json(e.previous) for e in events], pa.string()),
        pa.array([e.since for e in events], pa.int64()).cast(_INSTANT),
        pa.array([e.until for e in events], pa.int64()).cast(_INSTANT),
        pa.array([e.duration for e in events], pa.int64()),
        pa.array([e.status for e in events], pa.uint32()),
        pa.array([e.id for e in events], pa.string()),
        pa.array([e.basis[0] for e in events], pa.int16()),
        pa.array([e.basis[1] for e in events], pa.int64()),
        pa.array([e.basis[2] for e in events], pa.int16()),
        pa.repeat(pa.scalar(partition, pa.int16()), len(events)),
        pa.array(offsets, pa.int64()),
        pa.array([e.operator for e in events], pa.string()),
        pa.array([e.operator_version for e in events], pa.int32()),
        pa.array([e.revision for e in events], pa.int32()),
    ]
    return pa.record_batch(columns, schema=DERIVED)


def _values(values: list[Value]) -> list[Array]:
    kinds = set(map(type, values))
    return [_select[name](values, kinds, kind) for name, kind in _VALUE.items()]


def _of_type(python: type) -> Callable[[list[Value], set[type], DataType], Array]:
    def column(values: list[Value], kinds: set[type], kind: DataType) -> Array:
        if python not in kinds:
            return pa.nulls(len(values), kind)
        if kinds <= {python, type(None)}:
            return pa.array(values, kind)
        return pa.array([v if type(v) is python else None for v in values], kind)

    return column


def _integers(values: list[Value], kinds: set[type], kind: DataType) -> Array:
    try:
        return _of_type(int)(values, kinds, kind)
    except OverflowError:
        return pa.array([v if type(v) is int and v in _INT64 else None for v in values], kind)


def _others(values: list[Value], kinds: set[type], kind: DataType) -> Array:
    if not kinds & {int, list, dict}:
        return pa.nulls(len(values), kind)
    if not kinds & {list, dict} and all(v in _INT64 for v in values if type(v) is int):
        return pa.nulls(len(values), kind)
    texts = [_json(v) if type(v) in (list, dict) or (type(v) is int and v not in _INT64) else None for v in values]
    return pa.array(texts, kind)


_select: Final[dict[str, Callable[[list[Value], set[type], DataType], Array]]] = {
    "v_num": _of_type(float),
    "v_int": _integers,
    "v_bool": _of_type(bool),
    "v_str": _of_type(str),
    "v_json": _others,
}


def _json(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _check_years(ts: Any) -> None:
    extremes = pc.min_max(ts).as_py()
    if extremes["min"] is not None and not (extremes["min"] in _YEARS_US and extremes["max"] in _YEARS_US):
        raise OverflowError("an instant outside of the years 1 to 9999")


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
