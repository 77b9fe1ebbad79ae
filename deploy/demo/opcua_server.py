"""An OPC UA server that shows some machines: one object per asset, one variable per item, timestamps set by the plant.

Stopping it drops sessions and subscriptions for good; starting it again makes a new server on the same port.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from asyncua import Server, ua
from asyncua.server.address_space import AttributeValue, NodeData
from asyncua.server.internal_server import InternalServer

from deploy.demo.devices import Key, Served

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class OpcuaServer:
    """One server on a port of the loopback interface; `types` gives the built-in type of each (asset, item)."""

    def __init__(self, port: int, uri: str, types: dict[Key, str]) -> None:
        self.endpoint = f"opc.tcp://127.0.0.1:{port}"
        self.types = types
        self._uri = uri
        self._server: Server | None = None
        self._nodes: dict[Key, ua.NodeId] = {}

    @property
    def running(self) -> bool:
        """Whether clients can connect."""
        return self._server is not None

    async def start(self, values: dict[Key, Served]) -> None:
        """Listen, with these values in place before the first client comes."""
        server = Server(_QuickServer())
        await server.init()
        server.set_endpoint(self.endpoint)
        server.set_server_name("Penstock demo plant")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(self._uri)
        await self._add_nodes(server, index)
        for key, served in values.items():
            await server.write_attribute_value(self._nodes[key], self._data_value(key, served))
        await server.start()
        self._server = server

    async def _add_nodes(self, server: Server, index: int) -> None:
        for asset in dict.fromkeys(asset for asset, _ in self.types):
            name = node_name(asset)
            folder = await server.nodes.objects.add_object(ua.NodeId(name, index), f"{index}:{name}")
            for key in (key for key in self.types if key[0] == asset):
                node_id = self._nodes[key] = ua.NodeId(f"{name}.{key[1]}", index)
                variant_type = ua.VariantType[self.types[key]]
                empty = ua.Variant("" if variant_type is ua.VariantType.String else 0, variant_type)
                await folder.add_variable(node_id, f"{index}:{key[1]}", empty)

    async def write(self, key: Key, served: Served) -> None:
        """Change one value; subscribers hear of it."""
        if self._server is not None:
            await self._server.write_attribute_value(self._nodes[key], self._data_value(key, served))

    async def stop(self) -> None:
        """Close the port and every connection."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    def _data_value(self, key: Key, served: Served) -> ua.DataValue:
        bad = served.value is None
        return ua.DataValue(
            ua.Variant(None) if bad else ua.Variant(served.value, ua.VariantType[self.types[key]]),
            StatusCode=ua.StatusCode(served.status),
            SourceTimestamp=_EPOCH + timedelta(microseconds=served.source_time),
            ServerTimestamp=datetime.now(UTC),
        )


class _QuickServer(InternalServer):  # type: ignore[misc]  # the library is not seen by mypy
    """Copies the standard nodes from the first server of this process, because making them takes seconds."""

    _standard: ClassVar[dict[ua.NodeId, NodeData]] = {}

    async def load_standard_address_space(self, shelf_file: object = None) -> None:
        """Make the standard nodes once, copy them ever after."""
        if not self._standard:
            await super().load_standard_address_space()
            self._standard.update(_copy(self.aspace._nodes))  # noqa: SLF001  # no public way in
        else:
            self.aspace._nodes = await asyncio.to_thread(_copy, self._standard)  # noqa: SLF001


def _copy(nodes: dict[ua.NodeId, NodeData]) -> dict[ua.NodeId, NodeData]:
    copies = {}
    for node_id, node in nodes.items():
        copy = copies[node_id] = NodeData(node_id)
        copy.attributes = {name: AttributeValue(attribute.value) for name, attribute in node.attributes.items()}
        copy.references = list(node.references)
    return copies


def node_name(asset: str) -> str:
    """The asset's name in node ids.

    >>> node_name("press-01")
    'Press01'
    """
    return asset.replace("-", "").capitalize()
