"""Partitions that are not read on although Kafka has more of them: seen by asking, whatever the cause.

A client may cease to fetch a partition without a word: it believes what a stopping broker said, or waits for an
answer that was lost. So who has had nothing from a partition for a while asks where it ends.
"""

from collections.abc import Mapping
from typing import Final

LOOK_S: Final = 10.0
STEP_S: Final = 1.0
"""The most that counts between two readings: while nobody reads, nothing can be missed."""
LOOKS: Final = (2, 32)
"""In how many looks in succession a partition must be behind at the same position: at first, and at most; what was
read anew in vain waits twice as long for the next time."""
UNANSWERED: Final = 2
"""After so many looks without an answer Kafka is away."""


class Watch:
    """Compares positions with the ends of partitions from time to time: `due`, then `quiet`, then `stuck`."""

    def __init__(self) -> None:
        self.unanswered = 0
        self._read_at: float | None = None
        self._waited = 0.0
        self._positions: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        self._patience: dict[int, int] = {}

    def due(self, now: float, *, drained: bool) -> bool:
        """Told of each reading, and whether it took all that had arrived: else a partition may just have to wait."""
        step = 0.0 if self._read_at is None else min(now - self._read_at, STEP_S)
        self._read_at = now
        if drained:
            self._waited += step
        return self._waited >= LOOK_S

    def quiet(self, positions: Mapping[int, int]) -> list[int]:
        """The partitions whose position is the same as at the last look."""
        self._waited = 0.0
        same = [p for p, at in positions.items() if self._positions.get(p) == at]
        self._positions = dict(positions)
        self._behind = {p: self._behind.get(p, 0) for p in same}
        self._patience = {p: self._patience.get(p, LOOKS[0]) for p in same}
        if not same:
            self.unanswered = 0
        return same

    def stuck(self, ends: Mapping[int, int] | None) -> list[int]:
        """Given where the quiet partitions end, or None without an answer: those that have long been behind."""
        self.unanswered = 0 if ends is not None else self.unanswered + 1
        known = ends or {}
        self._behind = {p: n + 1 if known.get(p, 0) > self._positions[p] else 0 for p, n in self._behind.items()}
        found = [p for p, n in self._behind.items() if n >= self._patience[p]]
        for partition in found:
            self._behind[partition] = 0
            self._patience[partition] = min(2 * self._patience[partition], LOOKS[1])
        return found
