"""Two generations of the archive: all columns of all rows, in the order of the stream."""

from collections import defaultdict
from typing import Any

import polars as pl

from assets.condition import Refused
from flows._site import Site
from replay._compare import Difference, Findings, Verdict, combined
from replay._generations import Generations
from replay._parquet import KEY, SERIES, Table, windows
from replay.progress import Advance, bar

HASH_MODULUS = 1 << 64


class RowHash:
    """Per series the number of rows and a sum of their hashes; the origin is part of a row, so order is, too."""

    def __init__(self) -> None:
        self.rows = 0
        self._sums: dict[str, int] = defaultdict(int)

    def add(self, rows: pl.DataFrame, series: tuple[str, str]) -> None:
        """Some more rows."""
        if not rows.height:
            return
        self.rows += rows.height
        hashed = rows.select(pl.concat_str(series, separator="/").alias("series"), rows.hash_rows().alias("hash"))
        low, high = pl.col("hash") & 0xFFFFFFFF, pl.col("hash") // (1 << 32)  # a sum of 64 bits would overflow
        for name, small, large in hashed.group_by("series").agg(low.sum().alias("l"), high.sum().alias("h")).rows():
            self._sums[name] = (self._sums[name] + small + (large << 32)) % HASH_MODULUS

    @property
    def series(self) -> set[str]:
        """All series with rows."""
        return set(self._sums)

    def hexdigest(self) -> str:
        """The hash of everything."""
        return combined({series: value.to_bytes(8, "big") for series, value in self._sums.items()})


class _Comparison:
    """One table of both generations."""

    def __init__(self, live: Table, rebuilt: Table, found: Findings, hashes: tuple[RowHash, RowHash]) -> None:
        self.name = live.name
        self.until: dict[int, int] = {}
        self.since: dict[int, int] = {}
        self.older = [0, 0]
        self._live, self._rebuilt = live, rebuilt
        self._found, self._hashes = found, hashes

    def run(self, advance: Advance) -> None:
        """Compare what both have published."""
        for partition in sorted({*self._live.ranges} & {*self._rebuilt.ranges}):
            one, other = self._live.extent(partition), self._rebuilt.extent(partition)
            start, end = max(one[0], other[0]), min(one[1], other[1])
            self.until[partition] = end
            if one[0] != other[0]:
                self.since[partition] = start
                older = (table.before(partition, start) for table in (self._live, self._rebuilt))
                self.older = [sum(both) for both in zip(self.older, older, strict=True)]
            for window in windows(self._live.ranges[partition], start, end):
                rows = [table.read(partition, *window) for table in (self._live, self._rebuilt)]
                for frame, hash_ in zip(rows, self._hashes, strict=True):
                    hash_.add(frame, SERIES[self.name])
                self._compare(rows[0], rows[1])
                advance(rows[0].height)

    def _compare(self, live: pl.DataFrame, rebuilt: pl.DataFrame) -> None:
        if not live.equals(rebuilt):
            count, first = compare_frames(live, rebuilt, self.name)
            if first is not None:
                self._found.add(first, count)


def compare_frames(live: pl.DataFrame, rebuilt: pl.DataFrame, table: str) -> tuple[int, Difference | None]:
    """How many rows differ, and the first one with what each side has of it."""
    key = KEY[table]
    sides = [
        frame.select(*key, pl.struct(pl.all()).alias(name)) for frame, name in ((live, "live"), (rebuilt, "other"))
    ]
    for side in sides:  # a row that stands twice is told apart by its number
        side.insert_column(0, side.select(pl.int_range(pl.len()).over(key).alias("nth")).to_series())
    both = sides[0].join(sides[1], on=[*key, "nth"], how="full", coalesce=True)
    differing = both.filter(pl.col("live").ne_missing(pl.col("other"))).sort([*key, "nth"])
    if not differing.height:
        return 0, None
    row = differing.row(0, named=True)
    shown = row["live"] or row["other"]
    series = "/".join(shown[column] for column in SERIES[table])
    index = row.get("idx", shown.get("basis_idx", 0))
    return differing.height, Difference(
        series, row["part"], row["offset"], index, _plain(row["live"]), _plain(row["other"])
    )


def _plain(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """A row as JSON can hold it, without its empty columns."""
    if row is None:
        return None
    told = {name: value for name, value in row.items() if value is not None}
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in told.items()}


def verify_archive(site: Site, generations: Generations, live: int, rebuilt: int, *, shown: bool) -> Verdict:
    """Compare both tables over the offsets that both generations have published."""
    _check_comparable(generations, live, rebuilt)
    found, hashes = Findings(), (RowHash(), RowHash())
    sides = [[Table(site.archive_folder(g), name) for name in SERIES] for g in (live, rebuilt)]
    rows = [sum(table.rows for table in side) for side in sides]
    gone = [sum(_report_missing(table, found) for table in side) for side in sides]
    until, since, older = {}, {}, [0, 0]
    with bar("verifying archive", rows[0], shown=shown) as advance:
        for one, other in zip(*sides, strict=True):
            comparison = _Comparison(one, other, found, hashes)
            comparison.run(advance)
            until[one.name], since[one.name] = comparison.until, comparison.since
            older = [sum(both) for both in zip(older, comparison.older, strict=True)]
    return Verdict(
        view="archive",
        live=live,
        rebuilt=rebuilt,
        series=len(hashes[0].series | hashes[1].series),
        rows=rows[0],
        compared=hashes[0].rows,
        newer=sum(max(0, r - h.rows - g - o) for r, h, g, o in zip(rows, hashes, gone, older, strict=True)),
        differences=found.count,
        hash_live=hashes[0].hexdigest(),
        hash_rebuilt=hashes[1].hexdigest(),
        first=found.first,
        until=until,
        older=sum(older),
        since={table: offsets for table, offsets in since.items() if offsets},
    )


def _check_comparable(generations: Generations, live: int, rebuilt: int) -> None:
    derived = [generations.derived(generation) for generation in (live, rebuilt)]
    if derived[0] != derived[1]:
        raise Refused(
            f'could not compare generations {live} and {rebuilt} of view "archive": they were made of generations '
            f"{derived[0]} and {derived[1]} of derived state; rebuild archive and verify again"
        )


def _report_missing(table: Table, found: Findings) -> int:
    """Name the files that are gone (their rows are found missing besides); returns how many rows they had."""
    gone = 0
    for partition, one, path, rows in table.missing():
        gone += rows
        found.add(Difference(f"file {path}", partition, one.first, 0, f"{rows} rows", "the file is missing"))
    return gone
