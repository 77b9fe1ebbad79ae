"""The library asyncua as codec, channel and session: one connection to a server, and what its failures mean."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sources._link import cause_of
from sources._opcua_security import (
    Security,
    TrustError,
    application_uri,
    check_life,
    check_server,
    load,
    own_files,
    pki_folder,
    thumbprint,
)
from sources._opcua_session import (
    NOTIFICATIONS_PER_PUBLISH,
    LinkLostError,
    Notification,
    SubscriptionLostError,
    Timing,
    TooManyError,
    UnreadableError,
)
from sources._opcua_values import NodeAddress, instant_us

if TYPE_CHECKING:
    from asyncua import Client

CLOSE_TIMEOUT_S: Final = 2.0
SESSION_TIMEOUT_S: Final = 60.0
"""Sessions that a crash leaves behind must end before a small server has none left."""
_MODES: Final = {"none": "None_", "sign": "Sign", "sign_and_encrypt": "SignAndEncrypt"}
_REFUSED_USER: Final = frozenset(
    {"BadUserAccessDenied", "BadIdentityTokenRejected", "BadIdentityTokenInvalid", "BadUserSignatureInvalid"}
)


class Connection:
    """One connection to a server, from `open` to `close`; for another try make another one."""

    def __init__(self, name: str, endpoint: str, timeout_s: float, security: Security) -> None:
        from asyncua import Client

        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # we say it in our words, once
        self._security = security
        self._timeout_s = timeout_s
        # the library's own watchdog would look as ours does, with another time-out: let it sleep
        self._client = client = Client(endpoint, timeout=timeout_s, watchdog_intervall=1e6)
        client.name = client.description = f"Penstock {name}"
        client.application_uri = client.product_uri = "urn:penstock"
        client.session_timeout = int(SESSION_TIMEOUT_S * 1e3)

    async def open(self) -> "ClientSession":
        """Connect with the user and the protection that the configuration names."""
        security, client = self._security, self._client
        if security.user is not None:
            client.set_user(security.user)
            client.set_password(security.password.get_secret_value() if security.password else "")
        if security.mode != "none":
            await self._secure()
        await client.connect()
        return ClientSession(client)

    async def close(self) -> None:
        """Leave no session behind, if the server still listens."""
        client = self._client
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await client.close_session()
                await client.close_secure_channel()
        with suppress(Exception):
            client.disconnect_socket()

    async def _secure(self) -> None:
        from asyncua import ua
        from asyncua.crypto import security_policies, uacrypto

        security, client = self._security, self._client
        certificate, key = own_files(security)
        ours = load(certificate)
        check_life(ours, "our certificate")
        client.application_uri = application_uri(ours)
        policy = getattr(security_policies, f"SecurityPolicy{security.policy}")
        await client.set_security(policy, certificate, key, mode=getattr(ua.MessageSecurityMode, _MODES[security.mode]))
        if security.trust != "any":
            # the channel is then opened with this certificate's key, so it is the server's or nothing works
            theirs = uacrypto.x509_from_der(client.security_policy.peer_certificate)
            check_server(theirs, security.trust or pki_folder() / "trusted", pki_folder() / "rejected")

    def cause(self, error: BaseException) -> str:
        """Why the connection failed, in our words."""
        security = self._security
        if isinstance(error, AssertionError) and security.mode != "none":
            return f"the server refuses our certificate {thumbprint(load(own_files(security)[0]))}; trust it there"
        if "No matching endpoints" in str(error):
            return f"the server offers no endpoint with security {security.mode}, {security.policy}"
        if user_refused(error):
            return f'the server refuses the user "{security.user or "anonymous"}" ({type(error).__name__})'
        if type(error).__module__.startswith("asyncua") and type(error).__name__.startswith("Bad"):
            return f"the server answered {type(error).__name__}"
        if isinstance(error, ConnectionError) and not error.errno:
            return "connection closed by the server"
        if isinstance(error, TimeoutError) and not error.errno:
            return f"no answer within {self._timeout_s:g} s"
        return cause_of(error)


def failures() -> tuple[type[Exception], ...]:
    """What a connection may raise while a server is away, refuses us or misbehaves."""
    from asyncua import ua

    return (OSError, AssertionError, TrustError, LinkLostError, ua.UaError)


def user_refused(error: BaseException) -> bool:
    """Whether the server refuses the user or the password."""
    return type(error).__name__ in _REFUSED_USER


class ClientSession:
    """The library's session, in the terms of `_opcua_session.Session`."""

    def __init__(self, client: "Client") -> None:
        from asyncua import ua

        self._ua = ua
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
