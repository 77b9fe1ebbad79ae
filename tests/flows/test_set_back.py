"""A flow does not wait until a clock that was set back is where it was."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from flows._set_back import EXIT_AGAIN, MOST_S, _watch

S: Final = 1_000_000_000
PROGRAM: Final = """
import logging
from flows import _set_back
logging.basicConfig(format="%(message)s")
steps = iter((0, 0, -{back}))
_set_back._watch(lambda: next(steps) * 1_000_000_000, _set_back._end, 0.0)
"""


def ended_by(*ahead_s: float) -> list[int]:
    """By how much the clock was set back when that ended the flow; the clock is so far ahead at each look."""
    ended: list[int] = []
    clock: Iterator[int] = iter([int(ahead * S) for ahead in ahead_s])
    try:
        _watch(lambda: next(clock), ended.append, 0.0)
    except StopIteration:
        return []
    return ended


def test_a_clock_that_is_set_back_ends_the_flow() -> None:
    assert ended_by(0, 0, -3600) == [3600]
    assert ended_by(7200, 0) == [7200]


def test_leaps_and_small_steps_end_nothing() -> None:
    assert ended_by(0, 3600, 3600, 3600 - MOST_S, 3600 - 2 * MOST_S, 9000) == []


def test_it_ends_with_an_exit_code_that_asks_for_a_restart_and_says_why() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(back=3600)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == EXIT_AGAIN
    assert "was set back by 1h" in ended.stderr
