"""The manifest of a recovery store: what it notes of a flow, and every refusal word for word. No servers."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import bytewax.operators as op
import msgspec
import pytest
from bytewax.dataflow import Dataflow, operator
from bytewax.operators import KeyedStream
from bytewax.recovery import init_db_dir
from bytewax.testing import TestingSink, TestingSource

from assets.batch import Batch, Outgoing
from assets.condition import Refused
from flows._manifest import Manifest, check, stateful_steps
from flows._store import MANIFEST, Store, named_store
from operators import _assets, asset_state, live_values, normalize
from operators.rules import Rules
from sinks import nats, parquet
from sinks.nats import LiveSink
from sinks.parquet import ObservationSink
from tests.flows.test_structure import flows

RUN = "/lib/python3.11/site-packages/bytewax/run.py"
CURE = "delete the store (costs a replay, no data)"
MADE = Manifest(
    flow="derive",
    copy="0/1",
    generation=1,
    cluster="A",
    topics={"asset-state.g1": 12, "asset-stream": 12},
    steps={"derive.asset-stream": "1", "derive.rules.assets": "1"},
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty recovery store."""
    init_db_dir(tmp_path, 1)
    return Store(tmp_path)


def refusal(store: Store, **now: Any) -> str:
    """What a flow that differs is told, without the beginning that all refusals share."""
    check(store, MADE)
    with pytest.raises(Refused) as refused:
        check(store, msgspec.structs.replace(MADE, **now))
    begin = f'could not use recovery store "{store.folder}": '
    assert str(refused.value).startswith(begin)
    return str(refused.value).removeprefix(begin)


def test_the_first_flow_claims_an_empty_store_and_finds_it_again(store: Store) -> None:
    check(store, MADE)
    check(store, MADE)
    assert msgspec.json.decode((store.folder / MANIFEST).read_bytes(), type=Manifest) == MADE


@pytest.mark.parametrize(
    ("now", "text"),
    [
        pytest.param(
            {"steps": {"derive.asset-stream": "1", "derive.state.assets": "1"}},
            'it was made by other steps: "derive.rules.assets" is gone, "derive.state.assets" is new; its state would '
            f"be lost silently; {CURE} or go back to the program that made it",
            id="a renamed step",
        ),
        pytest.param(
            {"steps": {"derive.asset-stream": "1", "derive.rules.assets": "2"}},
            'step "derive.rules.assets" left state of version 1, this program has version 2; '
            f"{CURE} or go back to the program that made it",
            id="a changed codec",
        ),
        pytest.param(
            {"topics": {"asset-state.g1": 12, "asset-stream": 24}},
            'topic "asset-stream" had 12 partitions and has 24, so assets lie elsewhere in it; bring "asset-stream" '
            "back with 12 partitions, or begin with an empty topic and empty stores",
            id="another number of partitions",
        ),
        pytest.param(
            {"cluster": "B"},
            f'it was made on Kafka cluster "A", this is "B"; check KAFKA_BOOTSTRAP, or {CURE} if the cluster was made '
            "anew",
            id="another cluster",
        ),
        pytest.param(
            {"copy": "0/3"},
            "it belongs to copy 0/1, this is copy 0/3; give each flow and each copy i/N a store of its own",
            id="another copy",
        ),
        pytest.param(
            {"flow": "serve", "steps": {"serve.records": "1"}},
            'it belongs to flow "derive", this is flow "serve"; give each flow and each copy i/N a store of its own',
            id="another flow",
        ),
        pytest.param(
            {"generation": 2, "topics": {"asset-state.g2": 12, "asset-stream": 12}},
            'it holds generation 1, generation 2 is live; it was made on other topics: "asset-state.g1" is gone, '
            f'"asset-state.g2" is new; {CURE}',
            id="another generation",
        ),
        pytest.param(
            {"cluster": "B", "copy": "1/2"},
            'it was made on Kafka cluster "A", this is "B"; it belongs to copy 0/1, this is copy 1/2; '
            f"check KAFKA_BOOTSTRAP, or {CURE} if the cluster was made anew; "
            "give each flow and each copy i/N a store of its own",
            id="several at once",
        ),
    ],
)
def test_a_store_that_does_not_fit_is_refused_with_every_difference(
    store: Store, now: dict[str, Any], text: str
) -> None:
    assert refusal(store, **now) == text


def test_a_store_with_state_of_nobody_knows_whom_is_refused(store: Store) -> None:
    with sqlite3.connect(store.folder / "part-0.sqlite3") as file:
        file.execute("INSERT INTO snaps (step_id, state_key, snap_epoch) VALUES ('derive.rules.assets', '0000', 1)")
    file.close()
    with pytest.raises(Refused) as refused:
        check(store, MADE)
    assert str(refused.value) == (
        f'could not use recovery store "{store.folder}": it has state but no manifest.json, so nobody knows which '
        f"program made it; {CURE}"
    )


def test_what_is_no_store_is_refused(store: Store) -> None:
    (store.folder / "part-0.sqlite3").write_text("x" * 5000)
    with pytest.raises(Refused) as refused:
        check(store, MADE)
    begin = f'could not use recovery store "{store.folder}": '
    assert str(refused.value) == f"{begin}file is not a database; {CURE}"
    (store.folder / MANIFEST).write_text("{")
    with pytest.raises(Refused, match=r"its manifest\.json cannot be read: Input data was truncated; delete the store"):
        check(store, MADE)
    with pytest.raises(Refused) as refused:
        Store(store.folder / "x").lock()
    begin = f'could not use recovery store "{store.folder}/x": '
    assert str(refused.value) == f'{begin}there is none; make it: python -m bytewax.recovery "{store.folder}/x" 1'


def test_another_cluster_is_refused_before_anything_is_made_there(store: Store) -> None:
    store.expect(lambda: "B")  # an empty store has no cluster yet
    check(store, MADE)
    store.expect(lambda: "A")
    with pytest.raises(Refused) as refused:
        store.expect(lambda: "B")
    assert str(refused.value) == (
        f'could not use recovery store "{store.folder}": it was made on Kafka cluster "A", this is "B"; check '
        f"KAFKA_BOOTSTRAP, or {CURE} if the cluster was made anew"
    )


def test_a_store_in_use_by_another_process_is_refused_until_it_ends(store: Store) -> None:
    holding = f"from pathlib import Path; from flows._store import Store; Store(Path({str(store.folder)!r})).lock()"
    command = [sys.executable, "-c", f"{holding}; print(1, flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"1\n"
        with pytest.raises(Refused) as refused:
            store.lock()
        assert str(refused.value) == (
            f'could not use recovery store "{store.folder}": process {holder.pid} uses it; stop that process, or give '
            "this one a store of its own"
        )
        holder.kill()
    store.lock()
    assert (store.folder / "lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "folder"),
    [
        (["flows.derive", "-r", "here", "-s", "1", "-b", "0"], {}, "here"),
        (["-rhere", "flows.derive"], {}, "here"),
        (["flows.derive", "--recovery-directory=here"], {}, "here"),
        (["flows.derive", "--recovery-directory", "here", "-w", "2"], {}, "here"),
        (["flows.derive"], {"BYTEWAX_RECOVERY_DIRECTORY": "here"}, "here"),
        (["flows.derive", "-r", "here"], {"BYTEWAX_RECOVERY_DIRECTORY": "there"}, "here"),
        (["flows.derive", "-s", "1"], {}, None),
    ],
)
def test_the_store_is_found_as_the_engine_finds_it(
    arguments: list[str], environment: dict[str, str], folder: str | None
) -> None:
    found = named_store([RUN, *arguments], environment)
    assert (found and found.folder) == (folder and Path(folder))


def test_processes_of_one_cluster_share_a_store(store: Store) -> None:
    shared = named_store([RUN, "flows.derive", "-r", str(store.folder), "-i", "0", "-a", "a:1;b:2"], {})
    assert shared == Store(store.folder, shared=True)
    shared.lock()
    shared.lock()
    with pytest.raises(Refused, match="uses it"):
        store.lock()


def test_all_steps_with_state_are_noted_and_no_others() -> None:
    found = {step for flow in flows().values() for step in stateful_steps(flow)}
    assert found == {
        *("ingest.devices", "ingest.normalize.sources", "ingest.sequence.numbers"),
        *("ingest.asset-stream", "ingest.dead-letters"),
        *("derive.asset-stream", "derive.rules.assets", "derive.asset-state", "derive.dead-letters"),
        *("serve.records", "serve.values.values", "serve.live", "serve.dead-letters"),
        *("archive.records", "archive.observations", "archive.derived", "archive.dead-letters"),
    }


@operator
def wrapped(step_id: str, up: KeyedStream[Batch]) -> KeyedStream[list[Outgoing]]:
    """The rules, one level deeper."""
    return asset_state.asset_state("rules", up, Rules)


def test_a_wrapped_step_is_another_step() -> None:
    flow = Dataflow("derive")
    op.output("out", wrapped("more", op.input("in", flow, TestingSource([]))), TestingSink([]))
    assert "derive.more.rules.assets" in stateful_steps(flow)


def test_the_version_of_a_step_is_that_of_its_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert asset_state.SNAPSHOT_VERSION == _assets.SNAPSHOT_VERSION
    monkeypatch.setattr(asset_state, "SNAPSHOT_VERSION", 7)
    monkeypatch.setattr(live_values, "SNAPSHOT_VERSION", 8)
    monkeypatch.setattr(parquet, "STATE_VERSION", 9)
    monkeypatch.setattr(parquet, "SCHEMA_VERSION", 10)
    monkeypatch.setattr(nats, "STATE_VERSION", 11)
    assert not hasattr(normalize, "SNAPSHOT_VERSION")  # it keeps nothing
    steps = {step: version for flow in flows().values() for step, version in stateful_steps(flow).items()}
    assert steps["derive.rules.assets"] == "7"
    assert steps["serve.values.values"] == "8"
    assert steps["ingest.normalize.sources"] == "1"
    flow = Dataflow("sinks")
    stream: Any = op.input("in", flow, TestingSource([]))
    op.output("archive", stream, ObservationSink(tmp_path, "t", None, roll_us=1))  # type: ignore[arg-type]
    op.output("live", stream, LiveSink.__new__(LiveSink))
    assert stateful_steps(flow) == {"sinks.archive": "9.10", "sinks.in": "1", "sinks.live": "11"}
