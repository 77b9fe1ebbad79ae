"""Every test looks at the one run of the whole plant that `conftest.py` makes with real clients at its servers."""

import asyncio
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from deploy.demo import expected, site, truth
from deploy.demo.faults import BAD_SENSOR_FAILURE, CLOCK_SKEW_US, Kind
from deploy.demo.opcua_server import node_name
from deploy.demo.packml import LEGAL, State
from deploy.demo.physics import SECOND_US
from deploy.demo.registers import encode
from tests.deploy.demo.simulation import Notification, Run, simulate

pytestmark = pytest.mark.slow


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
