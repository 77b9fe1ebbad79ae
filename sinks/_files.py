"""Files of the archive: the spool's rows back into columns, and Parquet files that are whole or not there."""

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from sinks._columns import RecordBatch, Table, pa, pc, pq
from sinks._manifest import AppendFile, sync_folder

DICTIONARY_BYTES: Final = 256 << 10
"""Values with a larger dictionary per row group (measurements of full precision) are smaller without one."""
_READ: Final = pa.ipc.IpcReadOptions(use_threads=False)
_SPOOLED: Final = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def to_spool(rows: RecordBatch) -> Any:
    """The bytes of some rows for a spool: an Arrow IPC stream, compressed, for the disk is slower than LZ4."""
    into = pa.BufferOutputStream()
    with pa.ipc.new_stream(into, rows.schema, options=_SPOOLED) as stream:
        stream.write_batch(rows)
    return into.getvalue()


def read_spool(spool: AppendFile) -> list[RecordBatch]:
    """The rows of a spool: one stream after the other."""
    batches: list[RecordBatch] = []
    if spool.size:
        source = pa.BufferReader(spool.read())
        while source.tell() < spool.size:
            batches.extend(pa.ipc.open_stream(source, options=_READ))
    return batches


def by_date(table: Table) -> list[tuple[date, Table]]:
    """The rows of each event date (UTC), dates in order, rows in the order of the stream."""
    extremes = pc.min_max(table["ts"]).as_py()
    if table.num_rows and extremes["min"].date() == extremes["max"].date():
        return [(extremes["min"].date(), table)]
    days = pc.cast(table["ts"], pa.date32())
    found = sorted(pc.unique(days).to_pylist())
    return [(day, table.filter(pc.equal(days, pa.scalar(day, pa.date32())))) for day in found]


def write_file(table: Table, path: Path, delta: Sequence[str], plain: Sequence[str]) -> None:
    """Write beside `path`, make it durable, then give it its name: there is never half a file of that name."""
    temporary = path.with_name(path.name + ".tmp")
    dictionary = [name for name in table.schema.names if name not in (*delta, *plain)]
    pq.write_table(
        table,
        temporary,
        compression="zstd",
        compression_level=3,
        row_group_size=122_880,
        write_page_index=True,
        use_dictionary=dictionary,
        dictionary_pagesize_limit=DICTIONARY_BYTES,
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
    )
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def remove_orphans(folder: Path, partition: int, published: set[str]) -> None:
    """Delete files that a crash left behind before they were published."""
    for path in folder.glob(f"date=*/p{partition:05}-*.parquet*"):
        if str(path.relative_to(folder)) not in published:
            path.unlink()
