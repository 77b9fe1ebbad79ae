"""The accounts of all sources against what really stands on the stream; plain Python, fed record by record.

A tick says how many observations of a source were published until the source's mark. Frames handed over after the mark
may precede the tick, so those are told apart by their `received`: an observation before the mark was counted, one
after it is in flight (where the gateway's clock was set back, they are not told apart). Assets of one source live in
several partitions, so the last tick that stands in all of them is the one that is checked. Items beginning with `_` and
key frames are the gateway's own words and are in no account.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec
from msgspec import structs

from assets.frame import Flag, Frame, SourceAccount, Tick
from operators._writers import Writers

TICKS_KEPT: Final = 600
"""Partitions are read to ends that were asked one after the other: ten minutes of ticks are more than enough."""
_KEYFRAME: Final = int(Flag.KEYFRAME)

Run = tuple[str, int]
"""A gateway and the instant it started."""


class Deviation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something that does not add up: `count` observations, records, rows or subjects, and where."""

    kind: str
    count: int
    detail: str
    source: str | None = None
    gateway: str | None = None
    run: int | None = None
    asset: str | None = None
    partition: int | None = None
    offset: int | None = None
    file: str | None = None
    subject: str | None = None


class SourceReport(msgspec.Struct):
    """One source over all runs of its gateway: received = published + suppressed + rejected + buffered.

    `on_stream` is what of `published` was found, `in_flight` what stands there and is in no tick yet.
    """

    received: int = 0
    published: int = 0
    suppressed: int = 0
    rejected: int = 0
    buffered: int = 0
    lost: int = 0
    unexplained: int = 0
    on_stream: int = 0
    in_flight: int = 0

    def add(self, other: "SourceReport") -> None:
        """Add the numbers of another report."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class _Check(NamedTuple):
    """A tick in one partition: between `least` and `most` observations precede the mark of the account."""

    at: int
    least: int
    most: int
    account: SourceAccount


class _Home:
    """What one partition holds of one source in one run of its gateway."""

    def __init__(self) -> None:
        self.counted = 0
        self.checks: deque[_Check] = deque(maxlen=TICKS_KEPT)
        self._mark = 0
        self._since: list[tuple[int, int]] = []

    def frame(self, received: int, observations: int) -> None:
        self._since.append((received, observations))

    def tick(self, at: int, account: SourceAccount) -> None:
        before, new = self.counted, sum(n for _, n in self._since)
        mark = account.mark
        if mark is None or not self._in_order(mark, at):
            least, most = before, before + new
        else:
            least = before + sum(n for received, n in self._since if received < mark)
            most = before + sum(n for received, n in self._since if received <= mark)
        self.checks.append(_Check(at, least, most, account))
        self.counted = before + new
        self._since = []
        self._mark = mark or self._mark

    def _in_order(self, mark: int, at: int) -> bool:
        """Whether the gateway's clock went on since the last mark; if it was set back it tells nothing apart."""
        return all(earlier <= later for earlier, later in pairwise([self._mark, *(r for r, _ in self._since)])) and (
            self._mark <= mark <= at
        )

    @property
    def total(self) -> int:
        return self.counted + sum(n for _, n in self._since)


class Accounts:
    """All sources, runs and sequence numbers of the stream, or of its rest from `low` on."""

    def __init__(self, low: dict[int, int]) -> None:
        self._low = low
        self._homes: dict[tuple[Run, str], dict[int, _Home]] = defaultdict(lambda: defaultdict(_Home))
        self._numbers: dict[tuple[Run, str | int], int] = {}
        self._reports: dict[str, SourceReport] = defaultdict(SourceReport)
        self._found: list[Deviation] = []
        self.writers = Writers()

    def record(self, partition: int, offset: int, record: Frame | Tick) -> None:
        """The next record of a partition."""
        run = (record.gateway, record.run)
        if isinstance(record, Frame):
            self._number(run, record.asset, partition, offset, record)
            if counted := countable(record):
                self._homes[run, record.source][partition].frame(record.received, counted)
        else:
            self.writers.take(partition, record)
            self._number(run, partition, partition, offset, record)
            for source, account in record.sources.items():
                self._homes[run, source][partition].tick(record.received, account)

    def _number(self, run: Run, of: str | int, partition: int, offset: int, record: Frame | Tick) -> None:
        seq, last = record.seq, self._numbers.get((run, of))
        if last is None:
            last = 0 if self._low.get(partition, 0) == 0 else seq - 1
        self._numbers[run, of] = max(last, seq)
        if seq == last + 1:
            return
        kind, count = ("hole", seq - last - 1) if seq > last else ("duplicate", 1)
        self._found.append(
            Deviation(
                kind=kind,
                count=count,
                detail=f"a {type(record).__name__.lower()} numbered {seq} follows number {last}",
                gateway=run[0],
                run=run[1],
                asset=of if isinstance(of, str) else None,
                partition=partition,
                offset=offset,
            )
        )

    def finish(self) -> tuple[dict[str, SourceReport], list[Deviation]]:
        """The report of each source, and all that does not add up."""
        deviations = list(self._found)
        reports: dict[str, SourceReport] = defaultdict(SourceReport)
        for ((gateway, run), source), homes in sorted(self._homes.items()):
            report, found = _report(homes)
            reports[source].add(report)
            deviations += (structs.replace(one, source=source, gateway=gateway, run=run) for one in found)
        return dict(reports), deviations


def countable(frame: Frame) -> int:
    """How many observations of a frame its source's account counts as published."""
    return sum(1 for o in frame.observations if o.item[0] != "_" and not o.flags & _KEYFRAME)


def _report(homes: dict[int, _Home]) -> tuple[SourceReport, list[Deviation]]:
    total = sum(home.total for home in homes.values())
    checks = _last_in_all(list(homes.values()))
    if not checks:
        return SourceReport(in_flight=total), []
    account = checks[0].account
    suppressed, rejected = sum(account.suppressed.values()), sum(account.rejected.values())
    buffered = account.received - account.published - suppressed - rejected
    least, most = sum(c.least for c in checks), sum(c.most for c in checks)
    on_stream = min(max(account.published, least), most)
    found = list(_deviations(account, buffered, on_stream))
    report = SourceReport(
        account.received,
        account.published,
        suppressed,
        rejected,
        max(0, buffered),
        account.lost,
        sum(deviation.count for deviation in found),
        on_stream,
        total - on_stream,
    )
    return report, found


def _deviations(account: SourceAccount, buffered: int, on_stream: int) -> Iterator[Deviation]:
    if buffered < 0:
        why = f"published, suppressed and rejected make {-buffered} more than the {account.received} received"
        yield Deviation(kind="account", count=-buffered, detail=why)
    if on_stream != account.published:
        why = f"{account.published} were published, {on_stream} stand on the stream"
        yield Deviation(kind="published", count=abs(account.published - on_stream), detail=why)


def _last_in_all(homes: list[_Home]) -> list[_Check]:
    """The checks of the newest tick that every partition has; empty when there is none yet."""
    by_at = [{check.at: check for check in home.checks} for home in homes]
    for check in reversed(homes[0].checks):
        if all(check.at in checks for checks in by_at):
            return [checks[check.at] for checks in by_at]
    return []
