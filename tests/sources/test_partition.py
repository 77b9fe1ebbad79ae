"""The clean stop of source partitions, in the engine itself."""

from datetime import timedelta

import pytest
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.testing import TestingSink, cluster_main

from sources._partition import Partition, Stop

PARTS = ["0", "1", "2"]


class Numbers(Partition[int, int]):
    """Counts; the stop is asked for at 5, by the first partition that comes there."""

    def __init__(self, stop: Stop, settled: dict[str, int], name: str) -> None:
        super().__init__(stop, 1)
        self._settled, self._name, self._next = settled, name, 0

    def read(self) -> list[int]:
        self._next += 1
        if self._next == 5:
            self.stop.request()
        return [self._next]

    def position(self) -> int:
        return self._next

    def settle(self) -> None:
        self._settled[self._name] = self._next


class Counter(FixedPartitionedSource[int, int]):
    """Three partitions of numbers."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self.settled: dict[str, int] = {}

    def list_parts(self) -> list[str]:
        return PARTS

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Numbers:
        return Numbers(self._stop, self.settled, for_part)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_partition_hears_of_its_last_epoch_before_a_worker_ends(workers: int) -> None:
    stop, out = Stop(), list[int]()
    source = Counter(stop)
    flow = Dataflow("numbers")
    op.output("out", op.input("in", flow, source), TestingSink(out))
    cluster_main(flow, [], 0, worker_count_per_proc=workers, epoch_interval=timedelta(milliseconds=20))
    assert sorted(source.settled) == PARTS
    assert sum(source.settled.values()) == len(out)
