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
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from assets.duration import DurationUs
from assets.source import SourceConfig
from sources._devices import Outlet
from sources._link import DeviceLink, cause_of, jittered
from sources._opcua_security import (
    Security,
    TrustError,
    application_uri,
    check_life,
    check_server,
    load,
    own_certificate,
    pki_folder,
    thumbprint,
)
from sources._opcua_subscription import (
    NOTIFICATIONS_PER_PUBLISH,
    LinkLostError,
    Notification,
    Plan,
    Subscription,
    SubscriptionLostError,
    Timing,
    TooManyError,
    UnreadableError,
)
from sources._opcua_values import NodeAddress, instant_us, parse_node

if TYPE_CHECKING:
    from asyncua import Client

log = logging.getLogger(__name__)

RECONNECT_S: Final = (0.5, 10.0)
"""First and longest wait before a lost server is tried again."""
REFUSED_WAIT_S: Final = 60.0
"""After a refused user or password: trying on would lock the account."""
CLOSE_TIMEOUT_S: Final = 2.0
SESSION_TIMEOUT_S: Final = 60.0
"""Sessions that a crash leaves behind must end before a small server has none left."""
_ENDPOINT: Final = re.compile(r"opc\.tcp://(\[[^\]]+\]|[^:/@\s]+)(:\d{1,5})?(/\S*)?")
_MODES: Final = {"none": "None_", "sign": "Sign", "sign_and_encrypt": "SignAndEncrypt"}


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
        if self._config.security.trust == "any" and self._config.security.mode != "none":
            log.warning('source "%s" accepts the certificate of any server (trust: any)', self.name)
        self._wait_s = 0.0
        self._failed.clear()
        expected: tuple[type[Exception], ...] = (OSError, AssertionError, TrustError, LinkLostError, _client_error())
        while True:
            client = self._client()
            try:
                await self._connect(client)
                await self._subscribe(_Session(client), outlet, link)
            except expected as error:
                pause_s = self._pause_s(error)
                link.lost(self._cause(error), pause_s)
            finally:
                await _close(client)
            await asyncio.sleep(pause_s)

    async def _subscribe(self, session: "_Session", outlet: Outlet, link: DeviceLink) -> None:
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
        if type(error).__name__ in _REFUSED_USER:
            return REFUSED_WAIT_S
        self._wait_s = min(max(2 * self._wait_s, RECONNECT_S[0]), RECONNECT_S[1])
        return min(jittered(self._wait_s), RECONNECT_S[1])

    def _client(self) -> "Client":
        from asyncua import Client

        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # we say it in our words, once
        # the library's own watchdog would look as ours does, with another time-out: let it sleep
        client = Client(self._config.endpoint, timeout=self._config.timeout / 1e6, watchdog_intervall=1e6)
        client.name = client.description = f"Penstock {self.name}"
        client.application_uri = client.product_uri = "urn:penstock"
        client.session_timeout = int(SESSION_TIMEOUT_S * 1e3)
        return client

    async def _connect(self, client: "Client") -> None:
        security = self._config.security
        if security.user is not None:
            client.set_user(security.user)
            client.set_password(security.password.get_secret_value() if security.password else "")
        if security.mode != "none":
            await self._secure(client, security)
        await client.connect()

    def _own(self) -> tuple[Path, Path]:
        security = self._config.security
        if security.certificate is not None and security.key is not None:
            return security.certificate, security.key
        return own_certificate(pki_folder())

    async def _secure(self, client: "Client", security: Security) -> None:
        from asyncua import ua
        from asyncua.crypto import security_policies, uacrypto

        certificate, key = self._own()
        ours = load(certificate)
        check_life(ours, "our certificate")
        client.application_uri = application_uri(ours)
        policy = getattr(security_policies, f"SecurityPolicy{security.policy}")
        await client.set_security(policy, certificate, key, mode=getattr(ua.MessageSecurityMode, _MODES[security.mode]))
        if security.trust != "any":
            # the channel is then opened with this certificate's key, so it is the server's or nothing works
            theirs = uacrypto.x509_from_der(client.security_policy.peer_certificate)
            check_server(theirs, security.trust or pki_folder() / "trusted", pki_folder() / "rejected")

    def _cause(self, error: BaseException) -> str:
        security = self._config.security
        if isinstance(error, AssertionError) and security.mode != "none":
            return f"the server refuses our certificate {thumbprint(load(self._own()[0]))}; trust it there"
        if "No matching endpoints" in str(error):
            return f"the server offers no endpoint with security {security.mode}, {security.policy}"
        if type(error).__name__ in _REFUSED_USER:
            return f'the server refuses the user "{security.user or "anonymous"}" ({type(error).__name__})'
        if type(error).__module__.startswith("asyncua") and type(error).__name__.startswith("Bad"):
            return f"the server answered {type(error).__name__}"
        if isinstance(error, ConnectionError) and not error.errno:
            return "connection closed by the server"
        if isinstance(error, TimeoutError) and not error.errno:
            return f"no answer within {self._config.timeout / 1e6:g} s"
        return cause_of(error)


class _Session:
    """The library's session, in the terms of `_opcua_subscription.Session`."""

    def __init__(self, client: "Client") -> None:
        from asyncua import ua

        self._ua = ua
        self._client = client
        self._session = client.uaclient.session
        self._session.ensure_publish_loop = lambda: None  # ours asks, counts and acknowledges

    async def namespaces(self) -> list[str]:
        return list(await self._read(self._ua.ObjectIds.Server_NamespaceArray) or [])

    async def items_per_call(self) -> int:
        limits = self._ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall
        return int(await self._read(limits) or 0)

    async def alive(self) -> None:
        await self._read(self._ua.ObjectIds.Server_ServerStatus_State)

    async def _read(self, node: int) -> Any:
        ua = self._ua
        [data] = await self._session.read_attributes([ua.NodeId(node)], ua.AttributeIds.Value)
        return data.Value.Value if data.Value is not None else None

    async def subscribe(self, timing: Timing) -> tuple[int, float]:
        ask = self._ua.CreateSubscriptionParameters()
        ask.RequestedPublishingInterval = timing.publishing_ms
        ask.RequestedMaxKeepAliveCount = timing.keep_alive_count
        ask.RequestedLifetimeCount = timing.lifetime_count
        ask.MaxNotificationsPerPublish = NOTIFICATIONS_PER_PUBLISH
        ask.PublishingEnabled = True
        got = await self._session.create_subscription(ask, lambda _: None)
        return got.SubscriptionId, got.RevisedPublishingInterval * got.RevisedMaxKeepAliveCount / 1e3

    async def unsubscribe(self, subscription: int) -> None:
        with suppress(self._ua.UaStatusCodeError):
            await self._session.delete_subscriptions([subscription])

    async def create_items(
        self, subscription: int, nodes: Sequence[tuple[int, int, NodeAddress]], timing: Timing
    ) -> list[int]:
        ua = self._ua
        ask = ua.CreateMonitoredItemsParameters()
        ask.SubscriptionId = subscription
        ask.TimestampsToReturn = ua.TimestampsToReturn.Both
        ask.ItemsToCreate = [
            ua.MonitoredItemCreateRequest(
                ua.ReadValueId(ua.NodeId(node.identifier, index), ua.AttributeIds.Value),
                ua.MonitoringMode.Reporting,
                ua.MonitoringParameters(handle, timing.sampling_ms, QueueSize=timing.queue_size, DiscardOldest=True),
            )
            for handle, index, node in nodes
        ]
        try:
            results = await self._session.create_monitored_items(ask)
        except ua.uaerrors.BadTooManyOperations as error:
            raise TooManyError from error
        except ua.uaerrors.BadSubscriptionIdInvalid as error:
            raise SubscriptionLostError(type(error).__name__) from error
        return [result.StatusCode.value for result in results]

    async def publish(self, acknowledged: Sequence[tuple[int, int]]) -> Notification:
        errors = self._ua.uaerrors
        try:
            response = await self._session.publish(
                [self._ua.SubscriptionAcknowledgement(subscription, number) for subscription, number in acknowledged]
            )
        except errors.UaStructParsingError as error:
            raise UnreadableError(cause_of(error.__cause__ or error)) from error
        except (errors.BadNoSubscription, errors.BadSubscriptionIdInvalid) as error:
            raise SubscriptionLostError(f"the server answered {type(error).__name__}") from error
        return notification_of(response.Parameters)


def notification_of(result: Any) -> Notification:
    """The whole notification of a publish response."""
    message = result.NotificationMessage
    values: list[tuple[int, Any]] = []
    ended = None
    for part in message.NotificationData or []:
        if hasattr(part, "MonitoredItems"):
            values += [(item.ClientHandle, item.Value) for item in part.MonitoredItems]
        elif hasattr(part, "Status"):
            ended = part.Status.name
    return Notification(result.SubscriptionId, message.SequenceNumber, instant_us(message.PublishTime), values, ended)


_REFUSED_USER: Final = frozenset(
    {"BadUserAccessDenied", "BadIdentityTokenRejected", "BadIdentityTokenInvalid", "BadUserSignatureInvalid"}
)


def _client_error() -> type[Exception]:
    from asyncua import ua

    return ua.UaError  # type: ignore[no-any-return]


async def _close(client: "Client") -> None:
    """Leave no session behind, if the server still listens."""
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await client.close_session()
            await client.close_secure_channel()
    with suppress(Exception):
        client.disconnect_socket()
