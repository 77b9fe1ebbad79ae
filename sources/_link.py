"""The link to one device: tells the flow and the log when it is lost and found, and what was missed between.

One line when the link is lost, one for each new cause, one when it is back; never one per attempt.
"""

import logging
import os
import random
from typing import Final

from assets.reading import Gap
from sources._devices import Outlet, now_us

log = logging.getLogger(__name__)

JITTER: Final = 0.3
"""Many devices lost together must not all come back in the same instant."""


class DeviceLink:
    """What is known of the link between a source and its device at `endpoint`."""

    def __init__(self, name: str, endpoint: str, outlet: Outlet) -> None:
        self._what = f'source "{name}" at {endpoint}'
        self._outlet = outlet
        self.proved_at: int | None = None
        self._cause: str | None = None
        self._first_cause: str | None = None

    def proved(self, at: int) -> None:
        """The device answered at this instant."""
        self.proved_at = at
        self._outlet.prove()

    def lost(self, cause: str, next_try_s: float) -> None:
        """The device cannot be reached, because of `cause`; it is tried again in `next_try_s`."""
        self._outlet.link(False, cause)
        if self.proved_at is None:
            self.proved_at = now_us()  # never reached by this process: what it missed begins with its first try
        if cause != self._cause:
            log.warning("could not read %s: %s; trying again in %.1f s", self._what, cause, next_try_s)
        self._cause, self._first_cause = cause, self._first_cause or cause

    def missed(self, cause: str) -> None:
        """Values may have been lost since the last proof, although the device can still be reached."""
        self._outlet.untold_since = self.proved_at
        if self._cause is None:
            log.warning("%s may have lost values: %s; reading on", self._what, cause)
        self._cause, self._first_cause = cause, self._first_cause or cause

    def found(self, received: int) -> None:
        """The first reading after a loss came at `received`: the link is back, and what lies between is a gap."""
        self._outlet.link(True)
        if self._first_cause is not None:
            log.info("%s is back", self._what)
            if self.proved_at is not None:
                self._outlet.gap(Gap([], self.proved_at, received, self._first_cause))
        self._cause = self._first_cause = self._outlet.untold_since = None
        self.proved(received)


def jittered(delay_s: float) -> float:
    """A delay up to 30 % shorter or longer.

    >>> 0.7 <= jittered(1.0) <= 1.3
    True
    """
    return delay_s * random.uniform(1 - JITTER, 1 + JITTER)


def cause_of(error: BaseException) -> str:
    """What an error says, in few words on one line: the system's own words for a failed connection.

    >>> cause_of(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 4840)"))
    'connection refused'
    """
    if isinstance(error, OSError) and error.errno:
        return (os.strerror(error.errno) if error.errno > 0 else str(error.strerror)).lower()
    text = str(error).strip().splitlines()
    if isinstance(error, TimeoutError) and not text:
        return "no answer in time"
    return text[0] if text else type(error).__name__
