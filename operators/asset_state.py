"""Keep the logic of every asset and feed it the stream, in order and by event time: `asset_state`.

One engine step holds the objects of all assets of a partition (engine keys per asset would cost several times more).
Given the same records it yields the same events, however the records are cut into batches or runs.
"""

from collections.abc import Iterable
from typing import Generic

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from assets.batch import Batch, Outgoing
from assets.frame import DerivedEvent, encode_event
from operators._assets import SNAPSHOT_VERSION, Assets, L

__all__ = ["SNAPSHOT_VERSION", "asset_state", "outgoing"]


class _Step(StatefulBatchLogic[Batch, list[Outgoing], bytes], Generic[L]):
    """The engine's side: one partition's assets; the key of the stream is the partition."""

    def __init__(self, logic: type[L], snapshot: bytes | None) -> None:
        self._logic, self._snapshot = logic, snapshot
        self._assets: Assets[L] | None = None

    def on_batch(self, values: list[Batch]) -> tuple[Iterable[list[Outgoing]], bool]:
        made = ((batch.partition, self._of(batch.partition).batch(batch)) for batch in values)
        return [
            [outgoing(e, partition) for e in events] for partition, events in made if events
        ], StatefulBatchLogic.RETAIN

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
    return op.stateful_batch("assets", up, lambda saved: _Step(logic, saved))
