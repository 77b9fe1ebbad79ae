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

from assets.fields import Value
from assets.frame import DerivedEvent

pa: Any = pyarrow  # its type stubs, where installed, know too few of the forms it takes
pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet

Schema = Any
Table = Any
RecordBatch = Any
Array = Any
DataType = Any

SCHEMA_VERSION: Final = 1

INSTANT: Final = pa.timestamp("us", "UTC")
VALUE: Final = {
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
        "ts": INSTANT,
        "lag_us": pa.int64(),
        "part": pa.int16(),
        "offset": pa.int64(),
        "idx": pa.int16(),
        "status": pa.uint32(),
        "flags": pa.uint16(),
        **VALUE,
        "source": pa.string(),
    }
)
DERIVED: Final = pa.schema(
    {
        "asset": pa.string(),
        "metric": pa.string(),
        "ts": INSTANT,
        **VALUE,
        "previous": pa.string(),
        "since": INSTANT,
        "until": INSTANT,
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


def derived_rows(partition: int, offsets: Sequence[int], events: Sequence[DerivedEvent]) -> RecordBatch:
    """One row per derived event."""
    columns = [
        pa.array([e.asset for e in events], pa.string()),
        pa.array([e.metric for e in events], pa.string()),
        pa.array([e.time for e in events], pa.int64()).cast(INSTANT),
        *value_columns([e.value for e in events]),
        pa.array([None if e.previous is None else _json(e.previous) for e in events], pa.string()),
        pa.array([e.since for e in events], pa.int64()).cast(INSTANT),
        pa.array([e.until for e in events], pa.int64()).cast(INSTANT),
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


def value_columns(values: list[Value]) -> list[Array]:
    """Each value in the column of its type."""
    kinds = set(map(type, values))
    return [_select[name](values, kinds, kind) for name, kind in VALUE.items()]


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
    integers = [v for v in values if type(v) is int] if int in kinds else [0]
    if not kinds & {list, dict} and min(integers) in _INT64 and max(integers) in _INT64:
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
