"""Several sources as one input of a flow.

Two inputs of the engine wait for each other at the end of every epoch, and the one that waits does so in a busy loop:
with two topics an idle flow would burn half a core. The partitions of one input share their epochs and do not wait.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

X = TypeVar("X")


class Together(FixedPartitionedSource[X, Any]):
    """The partitions of all named sources; one called `0003` of the source `asset-state` is `asset-state/0003`."""

    def __init__(self, sources: Mapping[str, FixedPartitionedSource[X, Any]]) -> None:
        self._sources = dict(sources)

    def list_parts(self) -> list[str]:
        """All partitions of all sources."""
        return [f"{name}/{part}" for name, source in self._sources.items() for part in source.list_parts()]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> StatefulSourcePartition[X, Any]:
        """The partition of the source that its name begins with."""
        name, part = for_part.split("/", 1)
        return self._sources[name].build_part(step_id, part, resume_state)
