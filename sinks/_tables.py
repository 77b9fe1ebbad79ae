"""The two tables of the archive: their columns, how records count towards a cut, and how columns are encoded."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import get_ident
from typing import Any, Final, NamedTuple

from assets.frame import Frame
from sinks._columns import DERIVED, OBSERVATIONS, RecordBatch, Schema, Table, derived_rows, pa, pq
from sinks._cut import Measures
from sinks._frames import gather_frames, unfold_frames

EMPTY: Final = "schema/date=1970-01-01/empty.parquet"
"""A file without rows, so that readers know the columns of an archive that holds nothing yet."""


class Kind(NamedTuple):
    """What is particular to one of the two tables; records are gathered in a spool and unfolded to rows of `schema`."""

    folder: str
    schema: Schema
    measure: Callable[[Sequence[Any]], Measures]
    gather: Callable[[int, Sequence[int], Sequence[Any]], RecordBatch]
    unfold: Callable[[int, Sequence[RecordBatch]], Table]
    delta: tuple[str, ...]
    plain: tuple[str, ...]


def _measure_records(records: Sequence[Any]) -> Measures:
    rows = [len(record.observations) if type(record) is Frame else 0 for record in records]
    clocks = [f"{record.gateway} {record.run}" for record in records]  # another run may have another clock
    return Measures(clocks, [record.received for record in records], rows)


def _measure_events(events: Sequence[Any]) -> Measures:
    return Measures([""] * len(events), [event.time for event in events], [1] * len(events), steady=False)


OBSERVATION_TABLE: Final = Kind(
    "observations",
    OBSERVATIONS,
    _measure_records,
    gather_frames,
    unfold_frames,
    ("ts", "lag_us", "offset"),
    ("v_json",),
)
DERIVED_TABLE: Final = Kind(
    "derived",
    DERIVED,
    _measure_events,
    derived_rows,
    lambda _partition, batches: pa.Table.from_batches(batches, DERIVED),
    ("ts", "since", "until", "duration_us", "offset", "basis_offset"),
    ("id",),
)


def prepare(root: Path) -> None:
    """Let readers of an archive that holds nothing yet see its columns: a file without rows, an empty manifest."""
    for kind in (OBSERVATION_TABLE, DERIVED_TABLE):
        folder = root / kind.folder
        path = folder / EMPTY
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.tmp")  # workers are threads
            pq.write_table(kind.schema.empty_table(), temporary)
            temporary.rename(path)
        (folder / "manifest").mkdir(exist_ok=True)
        (folder / "manifest" / "empty.jsonl").touch()
