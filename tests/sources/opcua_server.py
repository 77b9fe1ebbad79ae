"""A real OPC UA server on the loopback interface, whose variables a test sets with value, status and time."""

import logging
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from asyncua import Server, ua

from deploy.ports import free_port

URI = "urn:acme:press"
NODES = Path(tempfile.gettempdir()) / f"opcua-nodes-{version('asyncua')}"


def address(name: str) -> str:
    """How the plant folder writes the node of a variable."""
    return f"nsu={URI};s={name}"


class Machine:
    """Serves variables by name; `start` after `stop` is a restart on the same port."""

    def __init__(self, values: Mapping[str, Any], extra_namespace: bool = False) -> None:
        self.values = dict(values)
        self.extra_namespace = extra_namespace
        self._server: Server | None = None
        self.port = free_port()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, **security: Any) -> None:
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        server = self._server = Server()
        await server.init(NODES)  # reading the standard's nodes anew takes seconds
        server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}")
        server.set_security_policy(security.pop("policies", [ua.SecurityPolicyType.NoSecurity]))
        for name, value in security.items():
            result = getattr(server, name)(*value)
            if result is not None:
                await result
        if self.extra_namespace:
            await server.register_namespace("urn:acme:other")
        self.index = await server.register_namespace(URI)
        for name, value in self.values.items():
            await self.add(name, value)
        await server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
        self._server = None

    async def add(self, name: str, value: Any) -> None:
        """A new variable; `value` may be a Variant."""
        assert self._server is not None
        await self._server.nodes.objects.add_variable(ua.NodeId(name, self.index), f"{self.index}:{name}", value)

    async def write(self, name: str, value: Any, status: int = 0, time: Any = None) -> None:
        """Set value, status and source time as given."""
        assert self._server is not None
        variant = value if isinstance(value, ua.Variant) else ua.Variant(value)
        data = ua.DataValue(variant, StatusCode=ua.StatusCode(status), SourceTimestamp=time)
        await self._server.write_attribute_value(ua.NodeId(name, self.index), data)

    async def drop_subscriptions(self) -> None:
        """Forget all subscriptions; the sessions live on."""
        assert self._server is not None
        service = self._server.iserver.subscription_service
        await service.delete_subscriptions(list(service.subscriptions))

    @property
    def subscriptions(self) -> int:
        """Subscriptions of all clients."""
        assert self._server is not None
        return len(self._server.iserver.subscription_service.subscriptions)
