"""The gateway's clock: the computer's, but small steps back are taken slowly, so that what is read stays in order.

Time services step a clock by fractions of a second or some seconds. Taken as they come, a value would be older than the
one before it. Leaps forward and large steps back (somebody set the clock) are believed at once, and said.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from assets.duration import format_duration

log = logging.getLogger(__name__)

LARGE_US: Final = 60_000_000
"""A step back by more is believed at once; a leap forward by more is worth a line."""
SLOWER: Final = 10
"""While the computer's clock is behind, ours goes slower by one in so many: a second is made up for in ten."""


def _computers() -> int:
    return time.time_ns() // 1_000


def _steady() -> int:
    return time.monotonic_ns() // 1_000


class Clock:
    """Instants in microseconds since 1970; may be asked by any thread."""

    def __init__(self, computers: Callable[[], int] = _computers, steady: Callable[[], int] = _steady) -> None:
        """`computers` may be set by anybody, `steady` only measures what has passed."""
        self._computers = computers
        self._steady = steady
        self._lock = threading.Lock()
        self._last: tuple[int, int] | None = None

    def now(self) -> int:
        """The time now; less than the last time only if somebody has set the computer's clock back."""
        with self._lock:
            steady, computers = self._steady(), self._computers()
            now = computers if self._last is None else self._follow(computers, steady, *self._last)
            self._last = now, steady
            return now

    def _follow(self, computers: int, steady: int, last: int, since: int) -> int:
        passed = steady - since
        ahead = computers - last - passed
        if ahead > LARGE_US:
            log.warning("the computer's clock leapt %s ahead; so do the instants of what is read", _words(ahead))
        if ahead < -LARGE_US:
            log.warning(
                "the computer's clock was set back by %s; so are the instants of what is read, and timers of rules "
                "wait until it is where it was",
                _words(-ahead),
            )
            return computers
        return max(computers, last + passed - passed // SLOWER)


def _words(step_us: int) -> str:
    return format_duration((step_us + 500_000) // 1_000_000 * 1_000_000)
