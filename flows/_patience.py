"""A start that waits for Kafka as long as need be: what could not be asked is asked again until a stop is requested."""

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from assets.condition import Unavailable
from sources._partition import Stop

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_S: Final = 1.0
STOP_POLL_S: Final = 0.05


def patiently(stop: Stop, question: Callable[[], T]) -> T:
    """The answer to a question that may be asked any number of times; raises `Unavailable` after a stop only."""
    while True:
        try:
            return question()
        except Unavailable as failure:
            if stop.requested:
                raise
            log.warning("%s; trying again in %g s", failure, RETRY_S)
        again_at = time.monotonic() + RETRY_S
        while time.monotonic() < again_at and not stop.requested:
            time.sleep(STOP_POLL_S)
