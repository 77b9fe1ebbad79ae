"""Comparing two generations, row by row and series by series; plain Python, no Kafka and no files.

A series is all rows of one (asset, item) or (asset, metric), or one subject. Of each series only its number of rows
and a running hash are kept, so a comparison needs memory for the series and not for the rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import groupby, zip_longest
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

DIGEST_BYTES: Final = 16

K = TypeVar("K")
G = TypeVar("G")

Origin = tuple[int, int, int]


class Difference(msgspec.Struct):
    """One row that is not the same in both: what each has (None: no such row), and the origin it is about."""

    series: str
    partition: int
    offset: int
    index: int
    live: Any
    rebuilt: Any


class Verdict(msgspec.Struct, kw_only=True):
    """Whether two generations agree where both have finished; `first` is the first difference that was found.

    `rows` is what the live one holds in all, `compared` what of it lies in the common range, `newer` what either holds
    beyond it, `older` what either holds before it. The range is from `since` (where that is not the beginning) to
    `until`.
    """

    view: str
    live: int
    rebuilt: int
    series: int
    rows: int
    compared: int
    newer: int
    differences: int
    hash_live: str
    hash_rebuilt: str
    first: Difference | None = None
    until: dict[str, dict[int, int]] = {}
    older: int = 0
    since: dict[str, dict[int, int]] = {}


class Row(NamedTuple):
    """A derived event as it stands in its topic: `basis` orders the rows of a partition, `record` is all of it."""

    basis: Origin
    series: str
    record: bytes


class SeriesHash:
    """The hash of all rows, in order within each series, whichever way series interleave."""

    def __init__(self) -> None:
        self.rows = 0
        self._digests: dict[str, bytes] = {}

    def add(self, series: str, row: bytes) -> None:
        """One more row of a series."""
        self.rows += 1
        self._digests[series] = blake2b(self._digests.get(series, b"") + row, digest_size=DIGEST_BYTES).digest()

    @property
    def series(self) -> set[str]:
        """All series with rows."""
        return set(self._digests)

    def hexdigest(self) -> str:
        """The hash of everything."""
        return combined(self._digests)


class Findings:
    """How many differences there are, and the first of them by origin."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Difference | None = None

    def add(self, difference: Difference, count: int = 1) -> None:
        """Found one, or several of which this is the first."""
        self.count += count
        if self.first is None or _place(difference) < _place(self.first):
            self.first = difference


def combined(digests: Mapping[str, bytes]) -> str:
    """One hash of the hashes of all series.

    >>> combined({"a": b"1", "b": b"2"}) == combined({"b": b"2", "a": b"1"})
    True
    """
    whole = blake2b(digest_size=DIGEST_BYTES)
    for series, digest in sorted(digests.items()):
        whole.update(series.encode() + b"\0" + digest)
    return whole.hexdigest()


def compare_rows(live: Iterable[Row], rebuilt: Iterable[Row]) -> Iterator[Difference]:
    """The rows of one partition that differ: both come in the order of their basis, and are read side by side."""
    of_live, of_rebuilt = _Groups(live), _Groups(rebuilt)
    while of_live.basis is not None or of_rebuilt.basis is not None:
        if of_rebuilt.basis is None or (of_live.basis is not None and of_live.basis < of_rebuilt.basis):
            yield from _compare_group(of_live.take(), [])
        elif of_live.basis is None or of_rebuilt.basis < of_live.basis:
            yield from _compare_group([], of_rebuilt.take())
        else:
            yield from _compare_group(of_live.take(), of_rebuilt.take())


class _Groups:
    """Rows of one basis at a time."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._groups = groupby(rows, key=lambda row: row.basis)
        self.basis: Origin | None = None
        self._rows: list[Row] = []
        self._advance()

    def take(self) -> list[Row]:
        rows = self._rows
        self._advance()
        return rows

    def _advance(self) -> None:
        basis, rows = next(self._groups, (None, iter(())))
        self.basis, self._rows = basis, list(rows)


def _compare_group(live: list[Row], rebuilt: list[Row]) -> Iterator[Difference]:
    if live == rebuilt:
        return
    of_live, of_rebuilt = _by_series(live), _by_series(rebuilt)
    for series in sorted({*of_live, *of_rebuilt}):
        for one, other in zip_longest(of_live.get(series, ()), of_rebuilt.get(series, ())):
            if one is None or other is None or one.record != other.record:
                partition, offset, index = next(row.basis for row in (one, other) if row is not None)
                shown = (readable(row and row.record) for row in (one, other))
                yield Difference(series, partition, offset, index, *shown)


def _by_series(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.series].append(row)
    return found


def readable(record: bytes | None) -> Any:
    """A record as it is shown to people."""
    if record is None:
        return None
    try:
        return msgspec.json.decode(record)
    except msgspec.DecodeError:
        return record.decode(errors="replace")


def _place(difference: Difference) -> Origin:
    return difference.partition, difference.offset, difference.index
