"""One run of the whole plant on simulated time with real clients at its servers; every test looks at this run."""

import asyncio
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from asyncua import Client, Node, ua
from pymodbus.client import AsyncModbusTcpClient

from deploy.demo import expected, site, truth
from deploy.demo.faults import BAD_SENSOR_FAILURE, CLOCK_SKEW_US, Kind
from deploy.demo.opcua_server import node_name
from deploy.demo.packml import LEGAL, State
from deploy.demo.physics import SCAN_US, SECOND_US
from deploy.demo.registers import encode
from deploy.demo.runner import Runner

pytestmark = pytest.mark.slow

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


async def poll(clients: dict[str, AsyncModbusTcpClient], time_us: int) -> list[Polled]:
    rows: list[Polled] = []
    for name, units in site.MODBUS.items():
        for unit, (asset, registers) in units.items():
            item = "state" if "state" in registers else "energy"
            rows.append((time_us, name, unit, f"{asset}.{item}", await read(clients[name], unit, registers[item])))
    return rows


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
    modbus = {
        name: AsyncModbusTcpClient("127.0.0.1", port=s.port, timeout=0.05, retries=0)
        for name, s in runner.modbus.items()
    }
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
            polled += await poll(modbus, now)
    await settle(listeners)
    for link in links.values():
        await link.disconnect()
    for client in modbus.values():
        client.close()
    await runner.stop()
    heard: dict[str, list[Notification]] = {name: listener.heard for name, listener in listeners.items()}
    return Run(runner.start_us, truth.read(folder / "truth.jsonl"), heard, polled, link_errors)


async def settle(listeners: dict[str, Listener]) -> None:
    """Wait until two publishing cycles have brought nothing new."""
    before = -1
    while before != (before := sum(len(listener.heard) for listener in listeners.values())):
        await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return asyncio.run(simulate(tmp_path_factory.mktemp("demo")))


def of_kind(run: Run, kind: str) -> list[truth.Line]:
    return [line for line in run.lines if line["kind"] == kind]


def fault(run: Run, kind: Kind) -> truth.Line:
    return next(line for line in of_kind(run, "fault") if line["fault"] == kind and line["to"] is not None)


def test_every_fault_begins_and_ends_in_the_first_minute(run: Run) -> None:
    spans = [(line["fault"], line["from"], line["to"]) for line in of_kind(run, "fault") if line["to"]]
    assert {kind for kind, _, _ in spans} == set(Kind)
    assert all(run.start_us < begin < end <= run.start_us + 60 * SECOND_US for _, begin, end in spans)
    begins = [line for line in of_kind(run, "fault") if line["to"] is None]
    assert len(begins) == len(spans)


def test_the_truth_says_exactly_what_a_subscriber_heard(run: Run) -> None:
    restart = fault(run, Kind.RESTART)
    for source, heard in run.heard.items():
        told: dict[str, list[Notification]] = defaultdict(list)
        for line in of_kind(run, "served"):
            name = f"{node_name(line['asset'])}.{line['item']}"
            if line["source"] == source:
                told[name].append((name, line["value"], line["status"], line["source_time"]))
        by_item: dict[str, list[Notification]] = defaultdict(list)
        for notification in heard:
            by_item[notification[0]].append(notification)
        assert set(by_item) == set(told)
        for name, notifications in by_item.items():
            # what was published just before the stop may never have left the server
            begin = restart["to"] if source == restart["target"] else 0
            assert since(begin, notifications) == since(begin, told[name])


def since(begin: int, notifications: list[Notification]) -> list[Notification]:
    return [plain(each) for each in notifications if each[3] >= begin]


def plain(notification: Notification) -> Notification:
    """Float variables carry 32 bits."""
    name, value, *rest = notification
    return (name, round(value, 2) if name.endswith(".force") else value, *rest)


def test_a_restart_breaks_the_connection_and_the_server_comes_back_on_its_port(run: Run) -> None:
    restart = fault(run, Kind.RESTART)
    assert [error.split(":")[0] for error in run.link_errors] == [restart["target"]]
    heard_times = [time for _, _, _, time in run.heard[restart["target"]]]
    assert not [time for time in heard_times if restart["from"] <= time < restart["to"]]
    assert [time for time in heard_times if time < restart["from"]]
    assert [time for time in heard_times if time > restart["to"]]


def test_a_frozen_server_tells_nothing_new(run: Run) -> None:
    frozen = fault(run, Kind.FROZEN)
    times = [time for _, _, _, time in run.heard[frozen["target"]]]
    assert not [time for time in times if frozen["from"] <= time < frozen["to"]]
    assert min(time for time in times if time >= frozen["to"]) == frozen["to"]


def test_bad_quality_is_heard_as_null_with_its_status(run: Run) -> None:
    bad = [line for line in of_kind(run, "served") if line["status"]]
    assert {(line["asset"], line["item"]) for line in bad} == {("press-02", "temperature"), ("press-01", "state")}
    heard = [each for each in run.heard["opcua-1"] if each[2]]
    assert [(each[0], each[1], each[2]) for each in heard] == [
        ("Press02.temperature", None, BAD_SENSOR_FAILURE),
        ("Press01.state", None, BAD_SENSOR_FAILURE),
    ]


def test_a_wrong_clock_shows_in_the_source_times(run: Run) -> None:
    skew = fault(run, Kind.CLOCK_SKEW)
    ahead = [each for each in run.heard["opcua-1"] if each[3] > skew["to"] + SECOND_US + CLOCK_SKEW_US // 2]
    assert {name.split(".")[0] for name, *_ in ahead} == {"Press04"}


def test_modbus_units_answer_with_the_truth_or_fail_as_scripted(run: Run) -> None:
    truths: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for line in of_kind(run, "register"):
        truths[f"{line['asset']}.{line['item']}"].append((line["at"] - run.start_us, line["value"]))
    failed = set()
    for time_us, server, unit, name, cells in run.polled:
        if isinstance(cells, int):
            failed.add((f"{server}/{unit}", cells))
            continue
        asset, item = name.split(".")
        value = [value for at, value in truths[name] if at <= time_us][-1]
        assert cells == encode(site.MODBUS[server][unit][1][item], value), (asset, item, time_us)
    assert failed == {(fault(run, Kind.DEAD_UNIT)["target"], 0x0B), (fault(run, Kind.NO_REPLY)["target"], -1)}


def test_states_served_by_presses_move_by_legal_edges(run: Run) -> None:
    for n in range(1, 5):
        states = [State[line["value"]] for line in of_kind(run, "state") if line["asset"] == f"press-{n:02d}"]
        assert len(states) > 5
        assert set(pairwise(states)) <= LEGAL


def test_each_type_of_asset_raises_and_clears_its_alarm(run: Run) -> None:
    changes = expected.expected_changes(run.lines)
    for kind in ("press", "furnace", "conveyor"):
        values = {value for asset, metric, value, _ in changes if asset.startswith(kind) and metric == "overheat"}
        assert values == {"ACTIVE", "CLEAR"}


def test_the_expected_states_are_the_true_states_where_no_fault_interferes(run: Run) -> None:
    metrics = {"press": "running", "furnace": "cycle", "conveyor": "running"}
    for asset in ("press-02", "press-03", "conveyor-01", "conveyor-04"):
        metric = metrics[asset.rsplit("-", 1)[0]]
        changes = [
            (asset, metric, line["value"], line["at"]) for line in of_kind(run, "state") if line["asset"] == asset
        ]
        doubts = expected.doubts(run.lines)
        wanted = [each for each in expected.expected_changes(run.lines) if each[:2] == (asset, metric)]
        assert expected.differences(wanted, changes, 0, doubts) == []


def test_the_same_seed_tells_the_same(run: Run, tmp_path: Path) -> None:
    again = asyncio.run(simulate(tmp_path, seconds=13)).lines[:-1]
    assert len(again) > 1000
    assert again == run.lines[: len(again)]
