"""What is said about a server we depend on: its loss once, its return once, however often either is noticed."""

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

MOMENT_S: Final = 5.0
PAUSE_S: Final = 0.05
"""Between two questions, so that an answer that comes at once (a refusal) is not asked for in a busy loop."""


class Unavailable(RuntimeError):
    """A server did not answer in time; nothing is lost, the next start goes on at the last snapshot."""


class Refused(RuntimeError):
    """Going on would lose or falsify data; the message says what to do."""


class Condition:
    """Whether a server can be reached for one purpose (`reading topic "asset-stream"`); one log line per change."""

    def __init__(self, log: logging.Logger, server: str, purpose: str) -> None:
        self.server = server
        self.purpose = purpose
        self.away = False
        self._log = log

    def lost(self, reason: str) -> None:
        """The server does not answer."""
        if not self.away:
            self.away = True
            self._log.warning("%s is unreachable: %s; %s waits for it", self.server, reason, self.purpose)

    def back(self) -> None:
        """The server answered."""
        if self.away:
            self.away = False
            self._log.warning("%s answers again; %s goes on", self.server, self.purpose)

    def wait_for(
        self,
        question: Callable[[], T],
        reason: Callable[[Exception], str | None],
        give_up: Callable[[], bool],
    ) -> T:
        """Ask until there is an answer or `give_up`; `reason` tells an outage (its cause) from a defect (None).

        An empty cause is a moment's weakness; it is worth a line in the log only if the moment is long.
        """
        asked_at = time.monotonic()
        while True:
            try:
                answer = question()
            except Exception as error:
                why = reason(error)
                if why is None:
                    raise
                if why or time.monotonic() > asked_at + MOMENT_S:
                    self.lost(why or str(error))
                if give_up():
                    raise Unavailable(f"{self.purpose} failed: {self.server} does not answer: {why or error}") from None
                time.sleep(PAUSE_S)
            else:
                self.back()
                return answer
