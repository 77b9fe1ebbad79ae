"""Keep the logic of every asset and feed it the stream, in order and by event time: `asset_state`.

One engine step holds the objects of all assets of a partition (engine keys per asset would cost several times more).
Given the same records it yields the same events, however the records are cut into batches or runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from assets.batch import Batch, Outgoing, Rejected
from assets.frame import DerivedEvent, encode_event
from operators._assets import SNAPSHOT_VERSION, Assets, L

__all__ = ["SNAPSHOT_VERSION", "Checked", "asset_state", "checked_state", "outgoing"]


Made = tuple[list[Outgoing], list[Rejected]]


@dataclass(frozen=True)
class Checked:
    """Records of derived events, and the definitions on the stream that were refused."""

    oks: KeyedStream[list[Outgoing]]
    errs: KeyedStream[list[Rejected]]


class _Step(StatefulBatchLogic[Batch, Made, bytes], Generic[L]):
    """The engine's side: one partition's assets; the key of the stream is the partition."""

    def __init__(self, logic: type[L], snapshot: bytes | None) -> None:
        self._logic, self._snapshot = logic, snapshot
        self._assets: Assets[L] | None = None

    def on_batch(self, values: list[Batch]) -> tuple[Iterable[Made], bool]:
        made = map(self._made, values)
        return [both for both in made if both[0] or both[1]], StatefulBatchLogic.RETAIN

    def _made(self, batch: Batch) -> Made:
        assets = self._of(batch.partition)
        return [outgoing(event, batch.partition) for event in assets.batch(batch)], assets.rejected()

    def snapshot(self) -> bytes:
        return self._snapshot or b"" if self._assets is None else self._assets.save()

    def _of(self, partition: int) -> Assets[L]:
        if self._assets is None:
            self._assets = Assets(partition, self._logic.__name__.lower(), self._logic)
            if self._snapshot:
                self._assets.load(self._snapshot)
        return self._assets


def outgoing(event: DerivedEvent, partition: int) -> Outgoing:
    """The record of a derived event: keyed by asset, in the partition its basis came from."""
    return Outgoing(partition, event.asset.encode(), encode_event(event), event.id)


@operator
def asset_state(
    step_id: str,
    up: KeyedStream[Batch],
    logic: type[L],
) -> KeyedStream[list[Outgoing]]:
    """Keep one `logic` per asset and turn its changes into records of `asset-state`.

    The name of the class, in lower case, is written into each event as its operator.
    """
    made = op.stateful_batch("assets", up, lambda saved: _Step(logic, saved))
    return op.filter_map_value("events", made, lambda both: both[0] or None)


@operator
def checked_state(
    step_id: str,
    up: KeyedStream[Batch],
    logic: type[L],
) -> Checked:
    """The same, and what of the stream's definitions was refused: one step of a flow should hand this on."""
    made = op.stateful_batch("assets", up, lambda saved: _Step(logic, saved))
    oks = op.filter_map_value("events", made, lambda both: both[0] or None)
    return Checked(oks, op.filter_map_value("errs", made, lambda both: both[1] or None))
