"""Whether Kafka answers others while one client finds no way to it: some never do again.

A client that hears from a stopping broker that there is no broker at all forgets all addresses, also the one that it
was given, and never asks anybody again (librdkafka issue 5301: seen of one client in fifty at each stop).
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from assets.connection import KafkaConnection

ASK_S: Final = 1.0
ASK_EVERY_S: Final = 10.0


class Way:
    """Asks by the client and by another one, in a thread, as long as `looked_for` is called.

    `ask` is a question by the client; what it raises is no answer.
    """

    def __init__(self, connection: KafkaConnection, ask: Callable[[], object]) -> None:
        self._asks: tuple[Callable[[], object], ...] = (ask, self._ask_anew)
        self._settings: dict[str, str | int | float | bool] = {**connection.settings(), "log_level": 0}
        self._asked_at = 0.0
        self._since: float | None = None

    def found(self) -> None:
        """The client has had an answer, or asks nothing."""
        self._since = None

    def looked_for(self) -> float:
        """The client has no way to write; for how many seconds others have been answered, and it was not."""
        if monotonic() - self._asked_at > ASK_EVERY_S:
            self._asked_at = monotonic()
            threading.Thread(target=self._ask, daemon=True).start()
        since = self._since
        return 0.0 if since is None else monotonic() - since

    def _ask(self) -> None:
        own, others = map(_answered, self._asks)
        self._since = (self._since or monotonic()) if others and not own else None

    def _ask_anew(self) -> object:
        return AdminClient(self._settings).list_topics(timeout=ASK_S)


def _answered(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except KafkaException:
        return False
    return True
