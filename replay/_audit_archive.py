"""The stream against the archive: every published range must have exactly the rows that its offsets have."""

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from replay._accounts import Deviation
from replay._parquet import Table, hash_sum
from sinks._manifest import Range

Origins = pl.DataFrame
"""Columns `offset` and `idx`: the rows that some records make."""
Reread = Callable[[int, int, int], Iterator[Origins]]


class ArchiveCheck:
    """Counts and sums the origins of one table's rows, per published range."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._ranges = {partition: list(ranges) for partition, ranges in table.ranges.items()}
        self._sums: dict[tuple[int, int], tuple[int, int]] = {}
        self.on_stream = 0

    def take(self, partition: int, following: int, origins: Origins) -> None:
        """The rows that the next records of a partition, up to offset `following`, make."""
        ranges = self._ranges.get(partition, [])
        while ranges and ranges[0].first < following:
            one = ranges[0]
            part = origins.filter(pl.col("offset").is_between(one.first, one.next, closed="left"))
            rows, total = self._sums.get((partition, one.first), (0, 0))
            self._sums[partition, one.first] = (rows + part.height, total + hash_sum(part))
            self.on_stream += part.height
            if one.next > following:
                return
            ranges.pop(0)

    @property
    def rows(self) -> int:
        """How many rows the archive says it has."""
        return self._table.rows

    def compare(self, reread: Reread) -> Iterator[Deviation]:
        """The ranges whose rows are not those of the stream; `reread` reads a range again to name the first one."""
        for partition, ranges in sorted(self._table.ranges.items()):
            for one in ranges:
                found = self._table.origins(one)
                rows, total = self._sums.get((partition, one.first), (0, 0))
                if (found.height, hash_sum(found)) != (rows, total):
                    expected = pl.concat([_NONE, *reread(partition, one.first, one.next)])
                    yield self._deviation(partition, one, expected, found)

    def _deviation(self, partition: int, one: Range, expected: Origins, found: Origins) -> Deviation:
        lost = expected.join(found, on=["offset", "idx"], how="anti")
        extra = found.join(expected, on=["offset", "idx"], how="anti")
        twice = found.height - found.unique().height
        worst = next((rows for rows in (lost, extra) if rows.height), found.filter(found.is_duplicated()))
        offset, idx = worst.sort("offset", "idx").row(0) if worst.height else (one.first, 0)
        return Deviation(
            kind="archive",
            count=max(1, lost.height + extra.height + twice),
            detail=f"of {self._table.name}, {lost.height} rows are missing, {extra.height} are not on the stream and "
            f"{twice} stand twice; the first is index {idx} of offset {offset}",
            partition=partition,
            offset=offset,
            file=", ".join(part.path for part in one.files) or None,
        )


def origins_of(offsets: Sequence[int], counts: Sequence[int]) -> Origins:
    """The origins of rows: record `offsets[i]` makes `counts[i]` of them.

    >>> origins_of([4, 7], [2, 1]).rows()
    [(4, 0), (4, 1), (7, 0)]
    """
    records = pl.DataFrame({"offset": offsets, "count": counts}, schema={"offset": pl.Int64, "count": pl.Int64})
    rows = records.filter(pl.col("count") > 0).with_columns(idx=pl.int_ranges("count")).explode("idx")
    return rows.select("offset", "idx")


_NONE = origins_of([], [])
