"""Positions that are good only for the store that the flow had filled when it reached them.

A view that keeps its values elsewhere can lose them while its recovery store stays. Then going on at the saved
positions would leave holes for ever: a source that is bound begins at the oldest record instead.
"""

import logging
import threading
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
    """Binds the parts of a flow to one store; `reached` says which it is and how far it is, and waits for an answer.

    All parts share their fate: the store may be lost and filled again at any moment, so it is asked once per epoch for
    all snapshots, and once per start for all positions. Else some would begin anew and others go on.
    """

    def __init__(self, reached: Callable[[], Reached]) -> None:
        self._reached = reached
        self._found: Reached | None = None
        self._noted: Reached | None = None
        self._noting: set[object] = set()
        self._lock = threading.Lock()
        self._told = False

    def __call__(self, source: FixedPartitionedSource[X, Any]) -> "Bound[X]":
        """The source, bound."""
        return Bound(source, self)

    def position(self, state: Any) -> Any:
        """The position to go on at, or None when the store is another one or an older state of it."""
        store, seq = self._found = self._found or self._reached()
        match state:
            case (position, str(known), int(reached)) if known == store and reached <= seq:
                return position
        if not self._told:
            log.warning("what this view had published is not there any more; reading the stream from its oldest record")
            self._told = True
        return None

    def note(self, part: object) -> Reached:
        """What a part of the source notes in its snapshot; the first one of an epoch asks for all that follow.

        No part is asked twice before all that depends on the sources was: that is how epochs end.
        """
        with self._lock:
            if self._noted is None or part in self._noting:
                self._noted = self._reached()
                self._noting.clear()
            self._noting.add(part)
            return self._noted

    def noted(self) -> Reached:
        """What the sources have noted in the epoch that ends."""
        return self._noted or self._reached()


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
        return _BoundPartition(part, self._binding)


class _BoundPartition(StatefulSourcePartition[X, Position]):
    def __init__(self, part: StatefulSourcePartition[X, Any], binding: Binding) -> None:
        self._part = part
        self._binding = binding

    def next_batch(self) -> Iterable[X]:
        return self._part.next_batch()

    def next_awake(self) -> datetime | None:
        return self._part.next_awake()

    def snapshot(self) -> Position:
        return (self._part.snapshot(), *self._binding.note(self))

    def close(self) -> None:
        self._part.close()
