"""Positions that are good only for the store that the flow had filled when it reached them.

A view that keeps its values elsewhere can lose them while its recovery store stays. Then going on at the saved
positions would leave holes for ever: a source that is bound begins at the oldest record instead.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol, TypeVar, runtime_checkable

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

log = logging.getLogger(__name__)

X = TypeVar("X")
Reached = tuple[str, int]
"""The id of a store and its newest sequence number."""
Position = tuple[Any, str, int]


@runtime_checkable
class Noting(Protocol):
    """A partition that notes its progress where others can see it."""

    def note_start(self) -> None:
        """Take back what an earlier run has noted: its output may be gone."""


class Binding:
    """Binds sources to one store; `reached` says which it is and how far it is, and waits until it can be asked."""

    def __init__(self, reached: Callable[[], Reached]) -> None:
        self.reached = reached
        self._told = False

    def __call__(self, source: FixedPartitionedSource[X, Any]) -> "Bound[X]":
        """The source, bound."""
        return Bound(source, self)

    def position(self, state: Any) -> Any:
        """The position to go on at, or None when the store is another one or an older state of it."""
        store, seq = self.reached()
        match state:
            case (position, str(known), int(reached)) if known == store and reached <= seq:
                return position
        if not self._told:
            log.warning("what this view had published is not there any more; reading the stream from its oldest record")
            self._told = True
        return None


class Bound(FixedPartitionedSource[X, Position]):
    """A source whose positions hold only while the store is there that they were reached with."""

    def __init__(self, source: FixedPartitionedSource[X, Any], binding: Binding) -> None:
        self._source = source
        self._binding = binding

    def list_parts(self) -> list[str]:
        """The partitions of the source."""
        return self._source.list_parts()

    def build_part(self, step_id: str, for_part: str, resume_state: Position | None) -> "_BoundPartition[X]":
        """Go on at the position, or begin anew when it is worth nothing."""
        position = None if resume_state is None else self._binding.position(resume_state)
        part = self._source.build_part(step_id, for_part, position)
        if position is None and isinstance(part, Noting):
            part.note_start()
        return _BoundPartition(part, self._binding.reached)


class _BoundPartition(StatefulSourcePartition[X, Position]):
    def __init__(self, part: StatefulSourcePartition[X, Any], reached: Callable[[], Reached]) -> None:
        self._part = part
        self._reached = reached

    def next_batch(self) -> Iterable[X]:
        return self._part.next_batch()

    def next_awake(self) -> datetime | None:
        return self._part.next_awake()

    def snapshot(self) -> Position:
        return (self._part.snapshot(), *self._reached())

    def close(self) -> None:
        self._part.close()
