"""Frames become records: gateway, run and number, the definition before its first use, and a tick each second.

(gateway, run, seq) identifies a record, seq = 1, 2, ... per asset and run, so that any consumer sees a hole. A tick
goes to every partition, where it moves time, so that a gateway that died is missed also where no other has assets. In
the partitions of their assets it names the sources whose account came since the last one: all they received before
their mark stands before the tick. A tick bears the time at which it was made: if it bore the time of a mark that had to
wait, a gateway that catches up would hurry the clock on which other gateways' sources age.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from assets.batch import Outgoing, stream_key
from assets.definition import Definition
from assets.fields import Value
from assets.frame import VERSION, Flag, Frame, Observation, SourceAccount, Tick, encode_frame, encode_tick
from assets.stream import MODEL, REMOVED, partition_of
from operators._convert import MAX_FRAME_BYTES
from operators.normalize import Accounted, Said

TICK_INTERVAL_US: Final = 1_000_000
SNAPSHOT: Final = b"sequence 1"
"""Nothing is kept in the recovery store: every start of the gateway is a new run."""
_KEYFRAME: Final = int(Flag.KEYFRAME)


class _Asset:
    """What the sequence knows of an asset: its place, its definition and the number of its last record."""

    __slots__ = ("defined", "definition", "key", "model", "partition", "seq")

    def __init__(self, asset: str, partitions: int, definition: Definition) -> None:
        self.key = asset.encode()
        self.partition = partition_of(asset, partitions)
        self.model = definition.model
        self.definition: Value = definition.value()
        self.defined = False
        self.seq = 0


class Sequencer:
    """The records of one gateway's run, in order; plain Python. `run` is the gateway's start in microseconds."""

    def __init__(
        self,
        gateway: str,
        run: int,
        partitions: int,
        models: Mapping[str, Definition],
        sources: Mapping[str, Collection[str]],
        gone: Iterable[str] = (),
    ) -> None:
        """`models` holds the definition of each asset, `sources` the assets that each source tells of.

        `gone` are assets of earlier runs that the plant no longer has: the stream is told first.
        """
        self._gateway = gateway
        self._run = run
        self._partitions = partitions
        self._assets = {asset: _Asset(asset, partitions, model) for asset, model in sorted(models.items())}
        self._homes = _homes(sources, partitions)
        self._ticks: dict[int, int] = {}
        self._accounts: dict[str, SourceAccount] = {}
        self._ticked_at: int | None = None
        self._records: dict[int, list[Outgoing]] = {}
        for asset in sorted(gone):
            self._remove(asset, partition_of(asset, partitions))

    def take(self, said: Iterable[Said]) -> list[tuple[str, list[Outgoing]]]:
        """Number and encode in order; returns the new records of each partition under its stream key."""
        for thing in said:
            if isinstance(thing, Frame):
                self._frame(thing)
            else:
                self._account(thing)
        records, self._records = self._records, {}
        return [(stream_key(partition), new) for partition, new in sorted(records.items())]

    def _remove(self, asset: str, partition: int) -> None:
        frame = Frame(VERSION, asset, "", self._gateway, self._run, 1, self._run, "", [Observation(REMOVED, True)])
        self._records.setdefault(partition, []).append(Outgoing(partition, asset.encode(), encode_frame(frame)))

    def _frame(self, frame: Frame) -> None:
        asset = self._assets[frame.asset]
        frame.gateway, frame.run, frame.model = self._gateway, self._run, asset.model
        observations = frame.observations
        if observations[0].item == MODEL:
            observations = observations[1:]
        elif asset.defined:
            self._write(asset, frame)
            return
        flags = _KEYFRAME if asset.defined else 0
        asset.defined = True
        frame.observations = [Observation(MODEL, asset.definition, 0, None, flags), *observations]
        self._write(asset, frame)

    def _write(self, asset: _Asset, frame: Frame) -> None:
        """Write a frame under the next number; one that is too large in halves."""
        frame.seq = asset.seq + 1
        record = encode_frame(frame)
        if len(record) > MAX_FRAME_BYTES and (half := len(frame.observations) // 2):
            observations = frame.observations
            for part in (observations[:half], observations[half:]):
                frame.observations = part
                self._write(asset, frame)
            return
        asset.seq = frame.seq
        self._records.setdefault(asset.partition, []).append(Outgoing(asset.partition, asset.key, record))

    def _account(self, accounted: Accounted) -> None:
        self._accounts[accounted.source] = accounted.account
        since = None if self._ticked_at is None else abs(accounted.at - self._ticked_at)
        if since is None or since >= TICK_INTERVAL_US or accounted.last:  # a clock set back must not silence us
            self._ticked_at = accounted.at
            self._tick(accounted.handed or accounted.at)

    def _tick(self, at: int) -> None:
        named: dict[int, dict[str, SourceAccount]] = {partition: {} for partition in range(self._partitions)}
        for source, account in sorted(self._accounts.items()):
            for partition in self._homes[source]:
                named[partition][source] = account
        self._accounts = {}
        for partition, accounts in named.items():
            seq = self._ticks[partition] = self._ticks.get(partition, 0) + 1
            tick = Tick(VERSION, self._gateway, self._run, seq, at, accounts)
            self._records.setdefault(partition, []).append(Outgoing(partition, None, encode_tick(tick)))


def _homes(sources: Mapping[str, Collection[str]], partitions: int) -> dict[str, list[int]]:
    """The partitions in which each source is named: those of its assets; without any, the gateway's first."""
    homes = {source: sorted({partition_of(a, partitions) for a in assets}) for source, assets in sources.items()}
    first = min((home for own in homes.values() for home in own), default=0)
    return {source: own or [first] for source, own in homes.items()}


class _Step(StatefulBatchLogic[list[Said], tuple[str, list[Outgoing]], bytes]):
    """The engine's side: one gateway."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer

    def on_batch(self, values: list[list[Said]]) -> tuple[Iterable[tuple[str, list[Outgoing]]], bool]:
        return self._sequencer.take(thing for said in values for thing in said), StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        return SNAPSHOT


@operator
def sequence(
    step_id: str,
    up: KeyedStream[list[Said]],
    gateway: str,
    run: int,
    partitions: int,
    models: Mapping[str, Definition],
    sources: Mapping[str, Collection[str]],
    gone: Collection[str] = (),
) -> KeyedStream[list[Outgoing]]:
    """Number what all sources of a gateway say; the result is keyed by partition."""
    together = op.map("gateway", up, lambda keyed: (gateway, keyed[1]))
    records = op.stateful_batch(
        "numbers", together, lambda _saved: _Step(Sequencer(gateway, run, partitions, models, sources, gone))
    )
    return op.map("partitions", records, lambda keyed: keyed[1])
