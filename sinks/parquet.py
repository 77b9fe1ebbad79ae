"""Archive of observations and derived events: Parquet files by event date (UTC), each row there exactly once.

Rows are gathered in a spool per partition, which goes back to the engine's snapshot after a crash; a full range of
offsets becomes one file per event date, named after its offsets, and is published by a line in the manifest. The
manifest alone says what the archive holds: without a recovery store the stream is read again and what is published is
skipped. Rows may be looked up at their origin: (part, offset, idx).
"""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from assets.batch import Batch, DerivedBatch
from sinks._columns import SCHEMA_VERSION, Table
from sinks._cut import ROLL_ROWS, ROLL_US, Progress, cut
from sinks._files import by_date, read_spool, remove_orphans, to_spool, write_file
from sinks._manifest import AppendFile, Manifest, ManifestError, Part, Range, while_full
from sinks._tables import DERIVED_TABLE, OBSERVATION_TABLE, Kind, prepare
from sinks._wait import Stopping

STATE_VERSION: Final = 3
MOST_PARTITIONS: Final = 1024
SPOOL_ROWS: Final = 2_048
"""Rows and records that may wait in memory for the spool: few enough for the processor's cache."""

__all__ = ["DerivedSink", "ObservationSink", "prepare"]

B = TypeVar("B", Batch, DerivedBatch)


class _Sink(FixedPartitionedSink[B, bytes], Generic[B]):
    _kind: Kind

    def __init__(
        self, root: Path, topic: str, stop: Stopping, *, roll_rows: int = ROLL_ROWS, roll_us: int = ROLL_US
    ) -> None:
        self._root = root
        self._folder = root / self._kind.folder
        self._topic = topic
        self._stop = stop
        self._rolls = (roll_rows, roll_us)

    def list_parts(self) -> list[str]:
        return [f"{partition:04}" for partition in range(MOST_PARTITIONS)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "_Partition[B]":
        while_full(lambda: prepare(self._root), self._folder, self._stop)
        return _Partition(self._kind, self._folder, self._topic, int(for_part), self._rolls, self._stop, resume_state)


class ObservationSink(_Sink[Batch]):
    """`ROOT/observations`: one row per observation of `asset-stream`; ticks only move the offsets on.

    A range ends at `roll_rows` rows or after `roll_us` by the records' own clocks, and at the end of a bounded source.
    """

    _kind = OBSERVATION_TABLE


class DerivedSink(_Sink[DerivedBatch]):
    """`ROOT/derived`: one row per derived event of one generation's `asset-state`."""

    _kind = DERIVED_TABLE


class _State(msgspec.Struct):
    version: int
    schema: int
    first: int | None
    next: int | None
    published: int | None
    size: int
    checksum: int
    progress: Progress


class _Partition(StatefulSinkPartition[B, bytes], Generic[B]):
    """One partition's spool and manifest."""

    def __init__(
        self,
        kind: Kind,
        folder: Path,
        topic: str,
        partition: int,
        rolls: tuple[int, int],
        stop: Stopping,
        resume: bytes | None,
    ) -> None:
        self._kind, self._folder, self._topic, self._number = kind, folder, topic, partition
        self._rolls, self._stop = rolls, stop
        self._manifest = Manifest(folder, partition, stop)
        self._spool = AppendFile(folder / "spool" / f"p{partition:05}.arrow", stop)
        self._offsets: list[Sequence[int]] = []
        self._records: list[Sequence[Any]] = []
        self._waiting = 0
        try:
            self._restore(None if resume is None else msgspec.msgpack.decode(resume, type=_State))
        except BaseException:
            self.close()  # both files are locked
            raise
        remove_orphans(folder, partition, self._manifest.files)

    def _restore(self, state: _State | None) -> None:
        published = self._manifest.next
        self._first = self._next = published
        self._progress = Progress()
        size = 0
        if state is not None:
            self._check(state, published)
            if state.first == published or published is None:
                self._first, self._next, self._progress, size = state.first, state.next, state.progress, state.size
        self._spool.truncate(size)

    def _check(self, state: _State, published: int | None) -> None:
        cure = "stop the flow, delete its recovery store and start it again: what is missing is read from the stream"
        where = f'partition {self._number} of archive "{self._folder}"'
        if state.version != STATE_VERSION or state.schema != SCHEMA_VERSION:
            raise ManifestError(f"could not go on with {where}: it was left by another version; {cure}")
        if state.published is not None and (published is None or published < state.published):
            raise ManifestError(f"could not go on with {where}: its manifest has lost ranges; {cure}")
        if published is None or published == state.first:
            if self._spool.size < state.size:
                raise ManifestError(f"could not go on with {where}: its spool has lost rows; {cure}")
            if self._spool.checksum_of(state.size) != state.checksum:
                raise ManifestError(f"could not go on with {where}: another store's run has filled its spool; {cure}")

    def write_batch(self, values: list[B]) -> None:
        for batch in values:
            self._take(batch)

    def _take(self, batch: B) -> None:
        if batch.partition != self._number:
            raise ValueError(f"partition {batch.partition} came to the archive's part {self._number}")
        if self._next is None:
            self._first = self._next = batch.first
        if batch.first > self._next:
            raise ManifestError(
                f'could not archive topic "{self._topic}" partition {self._number}: offsets {self._next} to '
                f"{batch.first - 1} were not read; archive this stream under another root, or restore the records"
            )
        if batch.next > self._next:
            self._add(batch, self._next)
        if batch.end:
            self._roll()

    def _add(self, batch: B, begin: int) -> None:
        records: Sequence[Any] = batch.records if isinstance(batch, Batch) else batch.events
        offsets: list[int] = batch.offsets
        if batch.first < begin:
            skip = bisect_left(offsets, begin)
            offsets, records = offsets[skip:], records[skip:]
        measures = self._kind.measure(records)
        for part in cut(self._progress, offsets, batch.next, measures, *self._rolls):
            if part.stop > part.start:
                self._offsets.append(offsets[part.start : part.stop])
                self._records.append(records[part.start : part.stop])
                self._waiting += part.stop - part.start + sum(measures.rows[part.start : part.stop])
            self._next = part.next
            if part.closes:
                self._roll()
        if self._waiting >= SPOOL_ROWS:
            self._flush()

    def snapshot(self) -> bytes:
        self._flush()
        self._spool.sync()
        state = _State(
            STATE_VERSION,
            SCHEMA_VERSION,
            self._first,
            self._next,
            self._manifest.next,
            self._spool.size,
            self._spool.checksum,
            self._progress,
        )
        return msgspec.msgpack.encode(state)

    def close(self) -> None:
        self._spool.close()
        self._manifest.close()

    def _flush(self) -> None:
        """Waiting records become rows of the spool."""
        if self._waiting:
            rows = self._kind.gather(self._number, list(chain(*self._offsets)), list(chain(*self._records)))
            if rows.num_rows:
                self._spool.append(to_spool(rows))
            self._offsets, self._records, self._waiting = [], [], 0

    def _roll(self) -> None:
        """Publish the range gathered so far, also when it has no rows."""
        self._flush()
        first, end = self._first, self._next
        if first is None or end is None or first == end:
            return
        table = self._kind.unfold(self._number, read_spool(self._spool))
        name = f"p{self._number:05}-{first:020}-{end:020}.parquet"
        marks = {"topic": self._topic, "partition": self._number, "first": first, "next": end}
        files = tuple(
            self._write(day, rows, name, {**marks, "schema": SCHEMA_VERSION, "rows": rows.num_rows})
            for day, rows in by_date(table)
        )
        self._manifest.publish(Range(first, end, table.num_rows, SCHEMA_VERSION, files))
        self._spool.truncate(0)
        self._first = end

    def _write(self, day: date, rows: Table, name: str, marks: dict[str, object]) -> Part:
        path = self._folder / f"date={day.isoformat()}" / name
        schema = rows.schema.with_metadata({f"penstock.{key}": str(value) for key, value in marks.items()})
        marked = rows.replace_schema_metadata(schema.metadata)

        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)  # a folder takes space too
            write_file(marked, path, self._kind.delta, self._kind.plain)

        while_full(write, path, self._stop)
        return Part(str(path.relative_to(self._folder)), day.isoformat(), rows.num_rows)
