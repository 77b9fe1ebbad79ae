"""A sink whose output follows a source that may be rewound: its own position is worth as much as the source's."""

from collections.abc import Callable
from typing import Any, TypeVar

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

X = TypeVar("X")
Reached = tuple[str, int]
Position = tuple[Any, str, int]


class BoundSink(FixedPartitionedSink[X, Position]):
    """A sink that begins anew, at what stands in its output from the beginning, when the source does.

    `position` gives what a saved state is worth, None when the source begins anew; `noted` says which store the source
    has noted in the epoch that ends: asked by ourselves, it might have become another one since.
    """

    def __init__(
        self,
        sink: FixedPartitionedSink[X, Any],
        position: Callable[[Any], Any],
        noted: Callable[[], Reached],
    ) -> None:
        self._sink = sink
        self._position = position
        self._noted = noted

    def list_parts(self) -> list[str]:
        return self._sink.list_parts()

    def part_fn(self, item_key: str) -> int:
        return self._sink.part_fn(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: Position | None) -> "_BoundPartition[X]":
        position = None if resume_state is None else self._position(resume_state)
        return _BoundPartition(self._sink.build_part(step_id, for_part, position), self._noted)


class _BoundPartition(StatefulSinkPartition[X, Position]):
    def __init__(self, part: StatefulSinkPartition[X, Any], noted: Callable[[], Reached]) -> None:
        self._part = part
        self._noted = noted

    def write_batch(self, values: list[X]) -> None:
        self._part.write_batch(values)

    def snapshot(self) -> Position:
        return (self._part.snapshot(), *self._noted())

    def close(self) -> None:
        self._part.close()
