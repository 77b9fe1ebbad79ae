"""Sources and sinks that count what passes, so that a run of a flow can show its progress."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from assets.batch import Batch, RawBatch
from assets.frame import Frame
from sources.kafka import StreamSource

MOST_PARTITIONS: Final = 1024

Count = Callable[[Any], int]


class Meter:
    """What has passed: `offsets` of the inputs out of `total`, `records` among them, and what each sink was given."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.offsets = 0
        self.records = 0
        self.written: Counter[str] = Counter()

    def source(self, source: StreamSource) -> "_Source":
        """A source that counts what it hands on."""
        return _Source(source, self)

    def sink(self, name: str, sink: FixedPartitionedSink[Any, Any], count: Count = len) -> "_Sink":
        """A sink that counts what it is given, as `name`."""
        self.written[name] = 0
        return _Sink(sink, lambda values: self._wrote(name, sum(map(count, values))))

    def discard(self, name: str) -> "_Sink":
        """A sink that counts what it is given and keeps nothing."""
        return self.sink(name, _Nothing())

    def _wrote(self, name: str, number: int) -> None:
        self.written[name] += number


def observations_in(batch: Batch) -> int:
    """How many observations a batch holds."""
    return sum(len(record.observations) for record in batch.records if type(record) is Frame)


class _Source(FixedPartitionedSource[tuple[str, RawBatch], int]):
    def __init__(self, source: StreamSource, meter: Meter) -> None:
        self._source = source
        self._meter = meter

    def list_parts(self) -> list[str]:
        return self._source.list_parts()

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_SourcePart":
        return _SourcePart(self._source.build_part(step_id, for_part, resume_state), self._meter)


class _SourcePart(StatefulSourcePartition[tuple[str, RawBatch], int]):
    def __init__(self, part: StatefulSourcePartition[tuple[str, RawBatch], int], meter: Meter) -> None:
        self._part = part
        self._meter = meter

    def next_batch(self) -> list[tuple[str, RawBatch]]:
        taken = list(self._part.next_batch())
        for _, batch in taken:
            self._meter.offsets += batch.next - batch.first
            self._meter.records += len(batch.offsets)
        return taken

    def next_awake(self) -> datetime | None:
        return self._part.next_awake()

    def snapshot(self) -> int:
        return self._part.snapshot()

    def close(self) -> None:
        self._part.close()


class _Sink(FixedPartitionedSink[Any, Any]):
    def __init__(self, sink: FixedPartitionedSink[Any, Any], told: Callable[[list[Any]], None]) -> None:
        self._sink = sink
        self._told = told

    def list_parts(self) -> list[str]:
        return self._sink.list_parts()

    def part_fn(self, item_key: str) -> int:
        return self._sink.part_fn(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> "_SinkPart":
        return _SinkPart(self._sink.build_part(step_id, for_part, resume_state), self._told)


class _SinkPart(StatefulSinkPartition[Any, Any]):
    def __init__(self, part: StatefulSinkPartition[Any, Any], told: Callable[[list[Any]], None]) -> None:
        self._part = part
        self._told = told

    def write_batch(self, values: list[Any]) -> None:
        self._part.write_batch(values)
        self._told(values)

    def snapshot(self) -> Any:
        return self._part.snapshot()

    def close(self) -> None:
        self._part.close()


class _Nothing(FixedPartitionedSink[Any, None]):
    def list_parts(self) -> list[str]:
        return [f"{partition:04}" for partition in range(MOST_PARTITIONS)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_NothingPart":
        return _NothingPart()


class _NothingPart(StatefulSinkPartition[Any, None]):
    def write_batch(self, values: list[Any]) -> None:
        """Keep nothing."""

    def snapshot(self) -> None:
        return None
