"""A run of the whole demo plant on simulated time, with real OPC UA and Modbus clients at its servers."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

from asyncua import Client, Node, ua
from pymodbus.client import AsyncModbusTcpClient

from deploy.demo import faults, site, truth
from deploy.demo.opcua_server import node_name
from deploy.demo.physics import SCAN_US, SECOND_US
from deploy.demo.registers import encode
from deploy.demo.runner import Runner

SECONDS = 61
Notification = tuple[str, Any, int, int]
"""(asset.item, value, status, source_time in us)"""
Polled = tuple[int, str, int, str, list[int] | int]
"""(time since start, server, unit, asset.item, cells or exception code; -1 is silence)"""


class Run(NamedTuple):
    start_us: int
    lines: list[truth.Line]
    heard: dict[str, list[Notification]]
    polled: list[Polled]
    link_errors: list[str]


class Listener:
    """Collects what a server's subscriptions deliver."""

    def __init__(self) -> None:
        self.heard: list[Notification] = []

    def datachange_notification(self, node: Node, _: Any, data: Any) -> None:
        value: ua.DataValue = data.monitored_item.Value
        name = str(node.nodeid.Identifier)
        time_us = round(value.SourceTimestamp.timestamp() * 1e6)
        self.heard.append((name, value.Value.Value, value.StatusCode.value, time_us))


async def subscribe(name: str, runner: Runner, listener: Listener) -> Client:
    uri, _, _ = site.OPCUA[name]
    server = runner.opcua[name]
    client = Client(server.endpoint, timeout=5)
    await client.connect()
    index = await client.get_namespace_index(uri)
    nodes = [client.get_node(ua.NodeId(f"{node_name(asset)}.{item}", index)) for asset, item in server.types]
    subscription = await client.create_subscription(50, listener)
    await subscription.subscribe_data_change(nodes, queuesize=10_000)
    return client


class Poller:
    """Asks the Modbus servers, patiently on a busy machine; hastily only a unit that the script has silenced."""

    def __init__(self, runner: Runner) -> None:
        self._patient, self._hasty = (
            {name: client(server.port, timeout_s) for name, server in runner.modbus.items()} for timeout_s in (30, 0.05)
        )

    async def poll(self, time_us: int) -> list[Polled]:
        silent = {fault.target for fault in faults.active(time_us) if fault.kind is faults.Kind.NO_REPLY}
        rows: list[Polled] = []
        for name, units in site.MODBUS.items():
            for unit, (asset, registers) in units.items():
                clients = self._hasty if f"{name}/{unit}" in silent else self._patient
                item = "state" if "state" in registers else "energy"
                rows.append((time_us, name, unit, f"{asset}.{item}", await read(clients[name], unit, registers[item])))
        return rows

    def close(self) -> None:
        for each in (*self._patient.values(), *self._hasty.values()):
            each.close()


def client(port: int, timeout_s: float) -> AsyncModbusTcpClient:
    return AsyncModbusTcpClient("127.0.0.1", port=port, timeout=timeout_s, retries=0)


async def read(client: AsyncModbusTcpClient, unit: int, register: Any) -> list[int] | int:
    methods = {"holding": client.read_holding_registers, "input": client.read_input_registers}
    if not client.connected:
        await client.connect()
    try:
        answer = await methods[register.table](register.address, count=len(encode(register, 0)), device_id=unit)
    except Exception:  # silence is a finding here
        return -1
    return int(answer.exception_code) if answer.isError() else list(answer.registers)


async def simulate(folder: Path, seconds: int = SECONDS) -> Run:
    now = 0
    runner = Runner(1, site.free_ports(4), folder, clock=lambda: runner.start_us + now)
    runner.start_us = 1_763_600_000_000_000
    await runner.start()
    listeners = {name: Listener() for name in site.OPCUA}
    links = {name: await subscribe(name, runner, listener) for name, listener in listeners.items()}
    modbus = Poller(runner)
    polled: list[Polled] = []
    link_errors: list[str] = []
    away: set[str] = set()
    for now in range(SCAN_US, seconds * SECOND_US + 1, SCAN_US):
        await runner.step(now)
        await asyncio.sleep(0)
        for name, server in runner.opcua.items():
            if not server.running and name not in away:
                away.add(name)
                try:
                    await links[name].nodes.server_state.read_value()
                except (ConnectionError, OSError, TimeoutError, ua.UaError) as error:
                    link_errors.append(f"{name}: {type(error).__name__}")
                await links[name].disconnect()
            elif server.running and name in away:
                away.discard(name)
                links[name] = await subscribe(name, runner, listeners[name])
        if now % SECOND_US == SECOND_US // 2:
            polled += await modbus.poll(now)
    await settle(listeners)
    for link in links.values():
        await link.disconnect()
    modbus.close()
    await runner.stop()
    heard: dict[str, list[Notification]] = {name: listener.heard for name, listener in listeners.items()}
    return Run(runner.start_us, truth.read(folder / "truth.jsonl"), heard, polled, link_errors)


async def settle(listeners: dict[str, Listener]) -> None:
    """Wait until two publishing cycles have brought nothing new."""
    before = -1
    while before != (before := sum(len(listener.heard) for listener in listeners.values())):
        await asyncio.sleep(0.2)
