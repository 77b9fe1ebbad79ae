"""Rows of an archive for replay: exactly what the manifests name, in pieces that fit into memory."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from sinks._manifest import Range

SERIES: Final = {"observations": ("asset", "item"), "derived": ("asset", "metric")}
"""The tables of an archive, and what names a series in each."""
KEY: Final = {"observations": ["part", "offset", "idx"], "derived": ["part", "offset"]}
"""What names a row: its origin."""
_OFFSET = pl.col("offset").cast(pl.Int64)
_ORIGIN: Final = {
    "observations": (_OFFSET, pl.col("idx").cast(pl.Int64)),
    "derived": (_OFFSET, pl.lit(0, pl.Int64).alias("idx")),
}


class Table:
    """One table of one generation: the ranges that are published, and their rows."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self._folder = root / name
        self.ranges: dict[int, list[Range]] = {
            int(manifest.stem.removeprefix("p")): list(_published(manifest))
            for manifest in sorted((self._folder / "manifest").glob("p*.jsonl"))
        }

    @property
    def rows(self) -> int:
        """How many rows the manifests say there are."""
        return sum(one.rows for ranges in self.ranges.values() for one in ranges)

    def extent(self, partition: int) -> tuple[int, int]:
        """The offsets of a partition that are published (half-open; ranges have no holes)."""
        ranges = self.ranges.get(partition)
        return (ranges[0].first, ranges[-1].next) if ranges else (0, 0)

    def before(self, partition: int, offset: int) -> int:
        """How many rows of a partition come from records before an offset."""
        ranges = self.ranges.get(partition, [])
        whole = sum(one.rows for one in ranges if one.next <= offset)
        cut = next((one.first for one in ranges if one.first < offset < one.next), None)
        return whole + (0 if cut is None else self.read(partition, cut, offset, ["offset"]).height)

    def missing(self) -> Iterator[tuple[int, Range, str, int]]:
        """Files that a manifest names and that are not there: partition, range, path and rows."""
        for partition, ranges in self.ranges.items():
            for one in ranges:
                yield from ((partition, one, f.path, f.rows) for f in one.files if not (self._folder / f.path).exists())

    def origins(self, one: Range) -> pl.DataFrame:
        """The origins of all rows of a range's files, as `offset` and `idx`."""
        return self._scan([one]).select(*_ORIGIN[self.name]).collect()

    def read(self, partition: int, start: int, end: int, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of a partition between two offsets, in the order of the stream."""
        ranges = [one for one in self.ranges.get(partition, ()) if one.first < end and one.next > start]
        scan = self._scan(ranges)
        rows = scan.filter(pl.col("offset").is_between(start, end, closed="left")).sort(KEY[self.name])
        return (rows if columns is None else rows.select(columns)).collect()

    def _scan(self, ranges: Sequence[Range]) -> pl.LazyFrame:
        paths = [self._folder / f.path for one in ranges for f in one.files]
        there = [path for path in paths if path.exists()] or [self._folder / "schema/date=1970-01-01/empty.parquet"]
        return pl.scan_parquet(there, hive_partitioning=False, glob=False)


def hash_sum(rows: pl.DataFrame) -> int:
    """The sum of the hashes of all rows, whatever their order."""
    if not rows.height:
        return 0
    hashes = rows.hash_rows()
    halves = hashes & 0xFFFFFFFF, hashes // (1 << 32)  # polars would overflow
    return int(halves[0].sum()) + (int(halves[1].sum()) << 32)


def windows(ranges: Sequence[Range], start: int, end: int) -> list[tuple[int, int]]:
    """The part of some ranges that lies between two offsets, cut where the ranges are cut: pieces of one file's size.

    >>> windows([Range(0, 10, 9, 1, ()), Range(10, 30, 20, 1, ())], 5, 20)
    [(5, 10), (10, 20)]
    """
    cuts = sorted({start, end, *(one.next for one in ranges if start < one.next < end)})
    return list(pairwise(cuts)) if end > start else []


def _published(manifest: Path) -> Iterator[Range]:
    with manifest.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):  # a torn last line is not published
                yield msgspec.json.decode(line, type=Range)
