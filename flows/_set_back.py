"""A flow ends when its computer's clock is set back: the engine waits by that clock, and would stand still until then.

Sources of the engine say when they want to be asked next, as a time of day. If the clock is set back by an hour, that
is in an hour. To end as a kill does and to be started again takes seconds, and views lose nothing by it; what ingest
misses meanwhile is a `_gap`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from assets.duration import format_duration

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.5
MOST_S: Final = 3
"""A smaller step is waited for."""
CLOSE_NS: Final = 100_000_000
EXIT_AGAIN: Final = 1
"""The exit code: a restart helps."""


def end_when_set_back() -> None:
    """End this process as soon as somebody sets the clock back; looks at it from now on."""
    threading.Thread(target=_watch, args=(_ahead_ns, _end), name="set-back", daemon=True).start()


def _watch(ahead_ns: Callable[[], int], end: Callable[[int], None], every_s: float = LOOK_EVERY_S) -> None:
    """`ahead_ns` is how far the clock is ahead of what passes; it only changes when somebody sets the clock."""
    last = ahead_ns()
    while True:
        time.sleep(every_s)
        ahead = ahead_ns()
        if last - ahead > MOST_S * 1_000_000_000:
            end((last - ahead) // 1_000_000_000)
            return
        last = ahead


def _ahead_ns() -> int:
    while True:
        before = time.monotonic_ns()
        clock = time.clock_gettime_ns(time.CLOCK_REALTIME)
        if (after := time.monotonic_ns()) - before < CLOSE_NS:  # else the process was held up between the two
            return clock - after


def _end(step_s: int) -> None:
    log.critical(
        "the computer's clock was set back by %s: the engine waits by it and would stand still; this flow ends as "
        "after a kill; start it again",
        format_duration(step_s * 1_000_000),
    )
    logging.shutdown()
    os._exit(EXIT_AGAIN)
