"""What a subscription needs of a session on an OPC UA server: requests, answers and errors, without vendor types.

sources/_opcua_client.py is such a session.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from sources._opcua_values import NodeAddress

KEEP_ALIVE_S: Final = 5.0
LIFETIME_S: Final = 600.0
"""How long the server keeps a subscription nobody asks for; it must outlast our back-pressure."""
NOTIFICATIONS_PER_PUBLISH: Final = 1000


class LinkLostError(Exception):
    """The server is connected, but not what it should be; the connection starts anew."""


class SubscriptionLostError(Exception):
    """The session lives, the subscription does not."""


class UnreadableError(Exception):
    """A notification came that could not be decoded."""


class TooManyError(Exception):
    """The server refuses that many operations in one call."""


class Timing(NamedTuple):
    """What is asked of the server for a subscription."""

    publishing_ms: float
    sampling_ms: float
    queue_size: int
    timeout_s: float

    @property
    def keep_alive_count(self) -> int:
        """Publishing intervals without data after which the server sends a keep-alive."""
        return max(1, round(KEEP_ALIVE_S * 1e3 / self.publishing_ms))

    @property
    def lifetime_count(self) -> int:
        """Publishing intervals without a request after which the server gives the subscription up."""
        return max(3 * self.keep_alive_count, round(LIFETIME_S * 1e3 / self.publishing_ms))


class Notification(NamedTuple):
    """What one publish response brings: `values` are (client handle, DataValue); none is a keep-alive."""

    subscription: int
    sequence: int
    published_us: int | None
    values: list[tuple[int, Any]]
    ended: str | None = None


class Session(Protocol):
    """A session on the server; what it raises is an error of this file or of the network."""

    async def namespaces(self) -> list[str]:
        """The NamespaceArray."""

    async def items_per_call(self) -> int:
        """The server's limit, 0: none."""

    async def alive(self) -> None:
        """Ask the server for a sign of life."""

    async def subscribe(self, timing: Timing) -> tuple[int, float]:
        """Create a subscription; returns its id and the seconds between its keep-alives."""

    async def unsubscribe(self, subscription: int) -> None:
        """Delete a subscription that is left for a new one."""

    async def create_items(
        self, subscription: int, nodes: Sequence[tuple[int, int, NodeAddress]], timing: Timing
    ) -> list[int]:
        """Monitor nodes given as (client handle, namespace index, node); returns a status for each."""

    async def publish(self, acknowledged: Sequence[tuple[int, int]]) -> Notification:
        """Wait for the next notification, acknowledging (subscription, sequence number)."""
