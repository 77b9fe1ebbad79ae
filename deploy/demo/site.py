"""The demo's site: which server shows which machine, and its four addresses."""

import socket
from pathlib import Path

from deploy.demo.devices import Key
from deploy.demo.machines import Plant
from deploy.demo.modbus_server import ModbusServer, Unit
from deploy.demo.opcua_server import OpcuaServer
from deploy.demo.registers import CONVEYOR, FURNACE_METER, METER, SIZES, Register

PLANT = Path(__file__).parent / "plant"
SERVERS = ("opcua-1", "opcua-2", "modbus-1", "modbus-2")
PRESS_TYPES = {"state": "Int32", "mode": "Int32", "temperature": "Double", "force": "Float", "parts": "UInt16"}
FURNACE_TYPES = {"phase": "String", "setpoint": "Double", "temperature": "Double"}

OPCUA = {
    "opcua-1": ("urn:penstock:demo:press", "press", PRESS_TYPES),
    "opcua-2": ("urn:penstock:demo:furnace", "furnace", FURNACE_TYPES),
}
MODBUS: dict[str, dict[int, tuple[str, dict[str, Register]]]] = {
    "modbus-1": {
        **{n: (f"press-{n:02d}", METER) for n in range(1, 5)},
        **{100 + n: (f"furnace-{n:02d}", FURNACE_METER) for n in range(1, 5)},
    },
    "modbus-2": {n: (f"conveyor-{n:02d}", CONVEYOR) for n in range(1, 5)},
}
"""Server -> unit -> the asset it belongs to and its register map."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def environment(ports: list[int]) -> dict[str, str]:
    """The variables that the plant folder refers to, for these ports in the order of `SERVERS`."""
    schemes = {"opcua": "opc.tcp", "modbus": "tcp"}
    addresses = {
        f"DEMO_{name.upper().replace('-', '_')}": f"{schemes[name.split('-')[0]]}://127.0.0.1:{port}"
        for name, port in zip(SERVERS, ports, strict=True)
    }
    return {**addresses, "PENSTOCK_PLANT": str(PLANT)}


def opcua_servers(plant: Plant, ports: list[int]) -> dict[str, OpcuaServer]:
    """The two OPC UA servers, not yet started."""
    servers = {}
    for (name, (uri, kind, types)), port in zip(OPCUA.items(), ports, strict=False):
        assets = [asset for asset in plant.machines if asset.startswith(kind)]
        keys: dict[Key, str] = {(asset, item): type_ for asset in assets for item, type_ in types.items()}
        servers[name] = OpcuaServer(port, uri, keys)
    return servers


def modbus_servers(ports: list[int]) -> dict[str, ModbusServer]:
    """The two Modbus servers, not yet started."""
    return {
        name: ModbusServer(port, {unit: Unit(SIZES) for unit in units})
        for (name, units), port in zip(MODBUS.items(), ports, strict=True)
    }
