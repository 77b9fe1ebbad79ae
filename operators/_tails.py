"""What earlier runs of a gateway left on the stream: last values, last marks and numbers; plain Python, no engine.

A new run takes them over, so that what a device delivers again is known and the time between the runs becomes a gap.
"""

from collections.abc import Collection, Iterable

import msgspec

from assets.batch import Outgoing, RawBatch
from assets.frame import ContractError, Flag, Frame, Observation, Tick, decode_frame, decode_tick
from assets.stream import REMOVED

_KEYFRAME = int(Flag.KEYFRAME)


class _Identity(msgspec.Struct, gc=False):
    """What identifies a record of one gateway; a tick has no asset."""

    run: int
    seq: int
    asset: str | None = None


class Tails:
    """The tails of one gateway's runs; fed the records of each partition in order."""

    def __init__(self, gateway: str) -> None:
        self.run = 0
        """The newest run."""
        self.last: dict[tuple[str, str], Observation] = {}
        """What was published last, by asset and item; `time` is when it was received."""
        self.assets: set[str] = set()
        """The assets that were told of and not removed since."""
        self._gateway = gateway
        self._mention = msgspec.json.encode(gateway)
        self._marks: dict[tuple[str, int], tuple[int, int]] = {}
        self._numbers: dict[tuple[int, str | int], int] = {}
        self._identity = msgspec.json.Decoder(_Identity).decode

    def mark(self, source: str, homes: Collection[int]) -> int | None:
        """The last instant until which everything of a source was handed on in all its partitions, if it is known.

        A kill can fall between the partitions: the oldest of their marks counts. Where a source was killed before its
        first mark it is the first frame: nothing was said of it before.
        """
        marks = [self._marks[source, home] for home in homes if (source, home) in self._marks]
        return min(marks)[1] if marks else None

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
                self._numbers[record.run, of] = record.seq

    def follow(self, records: Iterable[Outgoing]) -> None:
        """Records of this gateway that will stand in the topic behind all that was read."""
        for record in records:
            if record.value is not None:
                self._take(record.partition, record.key, record.value)

    def missing(self, partition: int, records: list[Outgoing]) -> list[Outgoing]:
        """Those of an earlier run's records that do not stand in the topic: order is kept, so a number tells."""
        return [record for record in records if record.value is not None and self._is_missing(partition, record.value)]

    def _is_missing(self, partition: int, value: bytes) -> bool:
        identity = self._identity(value)
        of = partition if identity.asset is None else identity.asset
        return identity.seq > self._numbers.get((identity.run, of), 0)

    def _take(self, partition: int, key: bytes | None, value: bytes) -> Frame | Tick | None:
        record: Frame | Tick
        try:
            record = decode_tick(value) if key is None else decode_frame(value)
        except ContractError:
            return None  # whoever wrote it: it was no gateway of ours
        if record.gateway != self._gateway:
            return None
        self.run = max(self.run, record.run)
        if isinstance(record, Frame):
            self._marks.setdefault((record.source, partition), (record.run, record.received))
            self._values(record)
            removed = any(o.item == REMOVED for o in record.observations)
            (self.assets.discard if removed else self.assets.add)(record.asset)
        else:
            for source, account in record.sources.items():
                if account.mark is not None:
                    at = source, partition
                    self._marks[at] = max(self._marks.get(at, (0, 0)), (record.run, account.mark))
        return record

    def _values(self, frame: Frame) -> None:
        last, asset = self.last, frame.asset
        for o in frame.observations:
            if o.item[0] == "_" or (o.flags & _KEYFRAME and (asset, o.item) in last):
                continue  # repeated by the gateway, which says nothing of when it came
            o.time = frame.received
            last[asset, o.item] = o
