"""Polls that were left out because what came before them took too long: counted at once, told as one gap per span.

Until then each mark says since when, so that the gap of the next start begins there if a kill comes before.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from assets.reading import Gap
from sources._devices import Outlet, now_us

REASON: Final = "polls were left out: the device or the gateway did not keep up"
LONGEST_SPAN_US: Final = 60_000_000
"""A device that never keeps up is told of once a minute."""


class Skipped:
    """The polls of one unit that were never made. A span lasts until a cycle is in time again."""

    def __init__(self, outlet: Outlet) -> None:
        self.total = 0
        self._outlet = outlet
        self._counts: Counter[str] = Counter()
        self._since: int | None = None
        self._until = 0
        self._grown = False

    def add(self, polls: int, addresses: Iterable[str], since: int) -> None:
        """So many polls of these addresses were due and not made; the last one that was gave its answer at `since`."""
        missed = dict.fromkeys(addresses, polls)
        self.total += polls
        self._outlet.lose(sum(missed.values()))
        self._counts.update(missed)
        self._since = self._outlet.untold_since = since if self._since is None else self._since
        self._until = now_us()
        self._grown = True

    def read(self, received: int) -> None:
        """A cycle gave its answer: the span goes on if polls were left out before it, and else is told."""
        if self._grown:
            self._until, self._grown = received, False
        elif self._since is not None:
            self.tell()
        if self._since is not None and not 0 <= self._until - self._since < LONGEST_SPAN_US:  # or a clock set back
            self.tell()

    def tell(self) -> None:
        """The span ends here."""
        if self._since is not None:
            lost = dict(self._counts)
            self._outlet.gap(Gap([], self._since, self._until, REASON, sum(lost.values()), lost), counted=True)
        self._counts.clear()
        self._since = self._outlet.untold_since = None
        self._grown = False
