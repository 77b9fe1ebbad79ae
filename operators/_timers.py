"""Deadlines of assets in event time, at most one each, given out in the order of (deadline, asset)."""

from collections.abc import Iterator
from heapq import heappop, heappush


class Timers:
    """A heap in which a deadline can be moved: entries that no longer stand are passed over."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._standing: dict[str, int] = {}

    def set(self, asset: str, due: int) -> None:
        """Let the asset's deadline be `due` (us)."""
        if self._standing.get(asset) != due:
            self._standing[asset] = due
            heappush(self._heap, (due, asset))

    def pop(self, horizon: int) -> Iterator[tuple[int, str]]:
        """The deadlines up to `horizon`, each taken off; new ones may be set meanwhile."""
        while self._heap and self._heap[0][0] <= horizon:
            due, asset = heappop(self._heap)
            if self._standing.get(asset) == due:
                del self._standing[asset]
                yield due, asset
