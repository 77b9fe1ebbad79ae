"""What earlier runs of a gateway left on the stream: last values, last marks and numbers; plain Python, no engine.

A new run takes them over, so that what a device delivers again is known and the time between the runs becomes a gap.
Copies of a gateway write under names of their own, but a source may have been another copy's before: whatever any copy
of the gateway wrote counts, found by the source and the asset it is about.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache, partial

import msgspec

from assets.batch import Outgoing, RawBatch
from assets.frame import ContractError, Frame, Observation, Tick, decode_frame, decode_tick
from assets.stream import REMOVED
from operators._last_values import Key, LastValues


def copy_name(gateway: str, copy: int, copies: int) -> str:
    """The name under which a copy of a gateway writes.

    >>> copy_name("gw-1", 0, 1), copy_name("gw-1", 0, 3)
    ('gw-1', 'gw-1-0-of-3')
    """
    return gateway if copies == 1 else f"{gateway}-{copy}-of-{copies}"


def named_as(gateway: str, name: str) -> bool:
    """Whether a name is that of a gateway or of one of its copies, however many there were.

    >>> [named_as("gw-1", name) for name in ("gw-1", "gw-1-2-of-3", "gw-10", "gw-1-2")]
    [True, True, False, False]
    """
    return re.fullmatch(re.escape(gateway) + r"(-\d+-of-\d+)?", name) is not None


class _Identity(msgspec.Struct, gc=False):
    """What identifies a record of a gateway's copy; a tick has no asset."""

    gateway: str
    run: int
    seq: int
    asset: str | None = None


class Tails:
    """The tails of the runs of a gateway and all its copies; fed the records of each partition in order."""

    def __init__(self, gateway: str) -> None:
        self.run = 0
        """The newest run."""
        self.values = LastValues()
        """What was published last, by asset and item."""
        self.assets: set[str] = set()
        """The assets that were told of and not removed since."""
        self.names: set[str] = set()
        """Under which names the gateway and its copies wrote."""
        self.gateway = gateway
        self._named = cache(partial(named_as, gateway))
        self._mention = msgspec.json.encode(gateway)[:-1]  # of a copy's name this is the beginning
        self._first: dict[tuple[str, int], tuple[int, int]] = {}  # by source and partition: run, instant
        self._marks: dict[tuple[str, int], tuple[int, int, int]] = {}  # run, the mark before the newest, the newest
        self._untold: dict[tuple[str, int], tuple[int, int | None]] = {}  # run, since when losses were not told
        self._numbers: dict[tuple[str, int, str | int], int] = {}
        self._identity = msgspec.json.Decoder(_Identity).decode

    @property
    def last(self) -> Mapping[Key, Observation]:
        """What was published last, by asset and item; `time` is when it was received."""
        return self.values.values

    def mark(self, source: str, homes: Collection[int]) -> int | None:
        """An instant until which everything that a source's device had to say stands in all its partitions.

        The newest mark only promises what was received: what the device had said by then may have been on its way. But
        the device was heard since the mark before, so that one is sure; in a run's first second it is the run's first
        frame. If something had been lost before it that no gap tells of yet, it is where that began. A kill can fall
        between the partitions: the oldest of theirs counts. None: nothing was ever heard.
        """
        sure = [self._sure(source, home) for home in homes if (source, home) in self._first]
        return min(sure)[1] if sure else None

    def _sure(self, source: str, home: int) -> tuple[int, int]:
        at = source, home
        run, before, _ = self._marks.get(at, (*self._first[at], 0))
        losing, since = self._untold.get(at, (0, None))
        return run, before if since is None or losing != run else min(before, since)

    def heard(self, source: str) -> bool:
        """Whether anything was said of a source."""
        return any(name == source for name, _ in self._first)

    @property
    def extent(self) -> int:
        """How many things are known; it grows with what is read."""
        return len(self.names) + len(self._first)

    def read(self, batch: RawBatch) -> None:
        """Records that stand in the topic; those of other gateways are not decoded."""
        mention = self._mention
        for key, value in zip(batch.keys, batch.values, strict=True):
            if (
                value is not None
                and mention in value
                and (record := self._take(batch.partition, key, value)) is not None
            ):
                of = record.asset if isinstance(record, Frame) else batch.partition
                self._numbers[record.gateway, record.run, of] = record.seq

    def follow(self, records: Iterable[Outgoing]) -> None:
        """Records of a copy of this gateway that will stand in the topic behind all that was read."""
        for record in records:
            if record.value is not None:
                self._take(record.partition, record.key, record.value)

    def missing(self, partition: int, records: list[Outgoing]) -> list[Outgoing]:
        """Those of an earlier run's records that do not stand in the topic: order is kept, so a number tells."""
        return [record for record in records if record.value is not None and self._is_missing(partition, record.value)]

    def _is_missing(self, partition: int, value: bytes) -> bool:
        identity = self._identity(value)
        of = partition if identity.asset is None else identity.asset
        return identity.seq > self._numbers.get((identity.gateway, identity.run, of), 0)

    def _take(self, partition: int, key: bytes | None, value: bytes) -> Frame | Tick | None:
        record: Frame | Tick
        try:
            record = decode_tick(value) if key is None else decode_frame(value)
        except ContractError:
            return None  # whoever wrote it: it was no gateway of ours
        if not self._named(record.gateway):
            return None
        self.names.add(record.gateway)
        self.run = max(self.run, record.run)
        if isinstance(record, Frame):
            self._begin((record.source, partition), record.run, record.received)
            self.values.take(record)
            removed = any(o.item == REMOVED for o in record.observations)
            (self.assets.discard if removed else self.assets.add)(record.asset)
        else:
            for source, account in record.sources.items():
                self._untold[source, partition] = record.run, account.untold_since
                if account.mark is not None:
                    self._mark((source, partition), record.run, account.mark)
        return record

    def _begin(self, at: tuple[str, int], run: int, instant: int) -> None:
        """The first sign of a run; of those that ended before any mark, the first one's."""
        first = self._first.get(at)
        if first is None or (run > first[0] and at in self._marks):
            self._first[at] = run, instant

    def _mark(self, at: tuple[str, int], run: int, mark: int) -> None:
        self._begin(at, run, mark)
        known, _, newest = self._marks.get(at, (-1, 0, 0))
        if run > known:
            began, first = self._first[at]
            self._marks[at] = run, first if began == run else mark, mark
        elif run == known and mark != newest:  # the order is the stream's: a clock may have been set back
            self._marks[at] = run, newest, mark
