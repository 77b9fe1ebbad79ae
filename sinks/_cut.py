"""Where a stream of records is cut into files: by rows and by the records' own times, never by the wall clock.

So the same offsets make the same files, live and rebuilt. A cut falls between two records.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

ROLL_ROWS: Final = 1_000_000
ROLL_US: Final = 300_000_000


class Measures(NamedTuple):
    """Of each record: whose clock it bears, what that clock said (us), and how many rows it makes.

    `steady`: each clock goes forward, unless somebody sets it back.
    """

    clocks: Sequence[str]
    times: Sequence[int]
    rows: Sequence[int]
    steady: bool = True


class Cut(NamedTuple):
    """Records `start` .. `stop`-1 of a batch reach up to offset `next`; `closes`: the range ends there."""

    start: int
    stop: int
    next: int
    closes: bool


class Progress(msgspec.Struct):
    """How far the range that is being gathered has come; `began` is when, by each clock."""

    rows: int = 0
    began: dict[str, int] = {}


def cut(progress: Progress, offsets: list[int], end: int, of: Measures, roll_rows: int, roll_us: int) -> list[Cut]:
    """Cut the records of a batch that ends at offset `end`; keeps `progress`.

    A clock is compared with itself only: gateways disagree, and one that is years ahead must not cut at each record.
    One that was set back cuts, too: else the range would stay open until it is where it was.
    """
    total = sum(of.rows)
    if progress.rows + total < roll_rows and _short(progress, of, roll_us):
        progress.rows += total
        return [Cut(0, len(offsets), end, False)]
    cuts: list[Cut] = []
    start = 0
    for i, (clock, time, rows) in enumerate(zip(of.clocks, of.times, of.rows, strict=True)):
        ran = time - progress.began.setdefault(clock, time)
        if ran >= roll_us or (of.steady and -ran >= roll_us):
            cuts.append(Cut(start, i, offsets[i], True))
            start = i
            progress.rows, progress.began = 0, {clock: time}
        progress.rows += rows
        if progress.rows >= roll_rows:
            cuts.append(Cut(start, i + 1, offsets[i] + 1, True))
            start = i + 1
            progress.rows, progress.began = 0, {}
    cuts.append(Cut(start, len(offsets), end, False))
    return cuts


def _short(progress: Progress, of: Measures, roll_us: int) -> bool:
    """Whether no clock can have run `roll_us`: looks at extremes only, most batches need no more."""
    if not of.times:
        return True
    for clock in set(of.clocks):
        if clock not in progress.began:
            progress.began[clock] = of.times[of.clocks.index(clock)]
    ahead, back = max(of.times) - min(progress.began.values()), max(progress.began.values()) - min(of.times)
    return ahead < roll_us and (back < roll_us or not of.steady)
