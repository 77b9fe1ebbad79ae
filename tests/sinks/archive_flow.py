"""A flow for tests: a deterministic stream into the archive; run as a process of its own, to be killed anywhere."""

import os
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from assets.batch import Batch, stream_key
from assets.frame import Frame, Observation, Tick
from sinks.parquet import ObservationSink
from sources._partition import Stop

PARTITIONS = 3
RECORDS = 12_000
"""Per partition."""
ROLL_ROWS = 1_700
START_US = 1_763_682_900_000_000
"""23:55 UTC: midnight is inside."""
STEP_US = 50_000
DAY_US = 86_400_000_000


def record(partition: int, offset: int) -> Frame | Tick:
    """The record at an offset: a tick, or a frame of none to three observations, some of them a day late."""
    received = START_US + offset * STEP_US
    if offset % 7 == 3:
        return Tick(1, "gw-1", 1, offset, received, {})
    late = DAY_US if offset % 50 == 1 else 0
    observations = [Observation(f"item-{i}", offset + i / 4, 0, received - late - i) for i in range(offset % 4)]
    return Frame(1, f"press-{partition}", "forming", "gw-1", 1, offset, received, "m", observations)


def expected() -> set[tuple[int, int, int]]:
    """The origin of every row."""
    return {
        (partition, offset, index)
        for partition in range(PARTITIONS)
        for offset in range(RECORDS)
        if offset % 7 != 3
        for index in range(offset % 4)
    }


class _Part(StatefulSourcePartition[tuple[str, Batch], int]):
    def __init__(self, partition: int, position: int) -> None:
        self._partition = partition
        self._position = position
        self._sizes = random.Random()

    def next_batch(self) -> list[tuple[str, Batch]]:
        if self._position >= RECORDS:
            raise StopIteration
        first = self._position
        self._position = min(first + self._sizes.randint(1, 120), RECORDS)
        offsets = list(range(first, self._position))
        records = [record(self._partition, offset) for offset in offsets]
        end = self._position == RECORDS
        return [(stream_key(self._partition), Batch(self._partition, first, self._position, offsets, records, end))]

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + timedelta(milliseconds=5)

    def snapshot(self) -> int:
        return self._position


class Source(FixedPartitionedSource[tuple[str, Batch], int]):
    """All partitions, from the start or where the recovery store says."""

    def list_parts(self) -> list[str]:
        return [stream_key(partition) for partition in range(PARTITIONS)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Part:
        return _Part(int(for_part), resume_state or 0)


def main(root: Path, recovery: Path) -> None:
    stop = Stop()
    stop.install()
    flow = Dataflow("archive")
    batches = op.input("in", flow, Source())
    op.output("out", batches, ObservationSink(root, "asset-stream", stop, roll_rows=ROLL_ROWS))
    if not recovery.exists():
        recovery.mkdir(parents=True)
        init_db_dir(recovery, 1)
    config = RecoveryConfig(recovery)
    run_main(flow, epoch_interval=timedelta(milliseconds=100), recovery_config=config)


if __name__ == "__main__":
    os.environ["RUST_BACKTRACE"] = "0"
    main(Path(sys.argv[1]), Path(sys.argv[2]))
