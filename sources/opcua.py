"""OPC UA: variables of one server, by subscription through asyncua.

Guarantee: at most once; every change the server queues arrives in order while the session lives, and what was missed
(a lost link or subscription, missing notifications, a flow that was down) is a gap. First values after a (re)connect
are flagged initial. We own the reconnect: the library is codec, channel and session only.
"""

import asyncio
import logging
import math
import re
from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from assets.duration import DurationUs
from assets.source import SourceConfig
from sources._devices import Outlet
from sources._link import DeviceLink, jittered
from sources._opcua_client import Connection, failures, user_refused
from sources._opcua_security import Security
from sources._opcua_session import LinkLostError, Session, SubscriptionLostError, Timing
from sources._opcua_subscription import Plan, Subscription
from sources._opcua_values import NodeAddress, parse_node

log = logging.getLogger(__name__)

RECONNECT_S: Final = (0.5, 10.0)
"""First and longest wait before a lost server is tried again."""
REFUSED_WAIT_S: Final = 60.0
"""After a refused user or password: trying on would lock the account."""
_ENDPOINT: Final = re.compile(r"opc\.tcp://(\[[^\]]+\]|[^:/@\s]+)(:\d{1,5})?(/\S*)?")


class Config(SourceConfig):
    """One OPC UA server."""

    protocol: Literal["opcua"] = "opcua"
    """The protocol: the name of a file in sources/."""
    endpoint: str
    """Where the server listens: `opc.tcp://HOST:PORT/PATH`."""
    publishing_interval: DurationUs = Field(500_000, gt=0)
    """How often the server sends what changed."""
    sampling_interval: DurationUs | None = Field(None, gt=0)
    """How often the server looks for a change; default: the publishing interval."""
    queue_size: int | Literal["auto"] = "auto"
    """Changes the server keeps per item until they are sent; auto: twice what one publishing interval can bring."""
    timeout: DurationUs = Field(5_000_000, gt=0)
    """How long the answer to a request may take."""
    security: Security = Security()
    """Protection and identity; `security: none` is short for `security: {mode: none}`."""

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str) -> str:
        if not _ENDPOINT.fullmatch(endpoint):
            raise ValueError(
                "expected opc.tcp://HOST:PORT, such as opc.tcp://10.0.0.5:4840; user and password go into security"
            )
        return endpoint

    @field_validator("security", mode="before")
    @classmethod
    def _mode_alone(cls, security: Any) -> Any:
        return {"mode": security} if isinstance(security, str) else security

    @model_validator(mode="after")
    def _queue_fits(self) -> "Config":
        if self.queue_size != "auto" and self.queue_size < self.changes_per_publish:
            raise ValueError(
                f"queue_size {self.queue_size} would lose changes unseen: one publishing interval can bring "
                f"{self.changes_per_publish}; raise it, or leave it out"
            )
        return self

    @property
    def changes_per_publish(self) -> int:
        """How many changes of one item a publishing interval can bring."""
        return math.ceil(self.publishing_interval / (self.sampling_interval or self.publishing_interval))

    @property
    def timing(self) -> Timing:
        """What is asked of the server for a subscription."""
        return Timing(
            publishing_ms=self.publishing_interval / 1e3,
            sampling_ms=(self.sampling_interval or self.publishing_interval) / 1e3,
            queue_size=max(2, 2 * self.changes_per_publish) if self.queue_size == "auto" else self.queue_size,
            timeout_s=self.timeout / 1e6,
        )

    @property
    def cycle_us(self) -> int:
        return self.publishing_interval

    @classmethod
    def check_address(cls, address: str) -> None:
        parse_node(address)


class Source:
    """One server and the nodes to watch on it."""

    def __init__(self, name: str, config: Config, addresses: Sequence[str]) -> None:
        self.name = name
        self._config = config
        self._nodes: dict[str, NodeAddress] = {address: parse_node(address) for address in addresses}
        self._failed: dict[int, int] = {}
        self._wait_s = 0.0

    async def run(self, outlet: Outlet) -> None:
        """Connect, subscribe, hand over, reconnect, until cancelled; then close the session."""
        link = DeviceLink(self.name, self._config.endpoint, outlet)
        security = self._config.security
        if security.trust == "any" and security.mode != "none":
            log.warning('source "%s" accepts the certificate of any server (trust: any)', self.name)
        self._wait_s = 0.0
        self._failed.clear()
        expected = failures()
        while True:
            connection = Connection(self.name, self._config.endpoint, self._config.timeout / 1e6, security)
            try:
                await self._subscribe(await connection.open(), outlet, link)
            except expected as error:
                pause_s = self._pause_s(error)
                link.lost(connection.cause(error), pause_s)
            finally:
                await connection.close()
            await asyncio.sleep(pause_s)

    async def _subscribe(self, session: Session, outlet: Outlet, link: DeviceLink) -> None:
        """Keep a subscription on the session; a lost one is replaced, the session stays."""
        while True:
            plan = Plan(self.name, self._nodes, self._config.timing, self._failed)
            subscription = Subscription(plan, session, outlet, link)
            try:
                await subscription.run()
            except SubscriptionLostError as error:
                if not subscription.heard:
                    raise LinkLostError(str(error)) from error
                link.missed(str(error))
            finally:
                if subscription.heard:
                    self._wait_s = 0.0

    def _pause_s(self, error: BaseException) -> float:
        if user_refused(error):
            return REFUSED_WAIT_S
        self._wait_s = min(max(2 * self._wait_s, RECONNECT_S[0]), RECONNECT_S[1])
        return min(jittered(self._wait_s), RECONNECT_S[1])
