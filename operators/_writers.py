"""Two processes that write under one name, told by their ticks; plain Python, no engine.

Each start of a gateway is a run, and a run that another one has followed says nothing more: what it had spooled is sent
before the next one begins. A run that ticks again behind another one of its name is a second process that lives.
"""

import msgspec

from assets.batch import RawBatch
from assets.frame import ContractError, Tick, decode_tick


class Interleaving(msgspec.Struct, frozen=True, order=True):
    """Two runs of one name that write at the same time."""

    gateway: str
    runs: tuple[int, int]

    def __str__(self) -> str:
        one, other = self.runs
        return (
            f'two writers named "{self.gateway}": runs {one} and {other} interleave; give each ingest process a name '
            "of its own (PENSTOCK_GATEWAY), or end one: while both write, the death of one may go unnoticed"
        )


class Writers:
    """Which runs of which gateways interleave; fed the ticks of each partition in order."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, str], int] = {}
        self._former: set[tuple[int, str, int]] = set()
        self._found: set[Interleaving] = set()

    @property
    def found(self) -> list[Interleaving]:
        """All that were found, each once."""
        return sorted(self._found)

    def take(self, partition: int, tick: Tick) -> None:
        """The next tick of a partition."""
        gateway, run = tick.gateway, tick.run
        last = self._last.get((partition, gateway))
        if last == run:
            return
        self._last[partition, gateway] = run
        if last is None:
            return
        self._former.add((partition, gateway, last))
        if (partition, gateway, run) in self._former:
            self._found.add(Interleaving(gateway, (min(run, last), max(run, last))))

    def read(self, batch: RawBatch) -> None:
        """The next records of a partition, as they stand in the topic."""
        for tick in ticks_of(batch):
            self.take(batch.partition, tick)


def ticks_of(batch: RawBatch) -> list[Tick]:
    """The ticks among records."""
    ticks = []
    for key, value in zip(batch.keys, batch.values, strict=True):
        if key is None and value is not None:
            try:
                ticks.append(decode_tick(value))
            except ContractError:
                continue  # whoever wrote it: it was no gateway of ours
    return ticks
