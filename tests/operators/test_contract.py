"""What every operator owes, whichever it is: a new file in operators/ is found and tested here by itself.

However its stream is cut into batches, whichever partition is ahead, wherever it is stopped and resumed, in how many
copies and whatever the hashes of Python are: it gives the same.
"""

import os
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random
from time import time_ns
from typing import Any, Final

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.batch import Batch, Outgoing
from assets.frame import Frame, decode_event
from operators.rules import KINDS
from tests.operators.contract import (
    BASES,
    Case,
    Play,
    cases,
    logics,
    modules,
    named,
    run,
    run_copies,
    run_cut,
)
from tests.operators.worker import Keyed
from tests.operators.world import EXAMPLES, World

ROOT: Final = Path(__file__).parents[2]
SEEDS: Final = int(os.environ.get("PENSTOCK_SEEDS", "1"))
"""How many times as many worlds as usual; those of the usual run are always the same."""
CASES: Final = cases()
WORLDS: Final = st.builds(World, st.integers(0, 1 << 32), st.integers(0, 60))

pytestmark = pytest.mark.timeout(120 + 60 * SEEDS)

each = pytest.mark.parametrize("case", CASES, ids=str)
usual = settings(max_examples=100 * SEEDS, deadline=None, derandomize=SEEDS == 1, database=None)
fewer = settings(usual, max_examples=20 * SEEDS)


# ---- who is there


def test_every_public_file_is_an_operator_a_rule_kind_or_a_logic() -> None:
    covered = {case.module for case in CASES} | {logic.__module__.split(".")[-1] for logic in logics()} | {*KINDS}
    assert {*modules()} - covered - BASES == set(), "a file that nothing here runs; make it private, or add it to BASES"


def test_everything_an_operator_wants_is_known_here() -> None:
    problems = [problem for case in CASES for problem in case.problems()]
    assert problems == [], "tests/operators/contract.py does not know:\n" + "\n".join(problems)


def test_a_newcomer_that_wants_something_else_is_told_what_to_add() -> None:
    @operator
    def newcomer(step_id: str, up: KeyedStream[list[Keyed]], limit: int) -> KeyedStream[int]:
        return op.map_value("count", up, lambda some: min(len(some), limit))

    assert Case("counts", "newcomer", newcomer).problems() == [
        "counts.newcomer: no generator for list[tuple[str, typing.Any]]; add one to FEEDS",
        "counts.newcomer: no comparison of <class 'int'>; add one to RESULTS",
        'counts.newcomer: no value for "limit"; add one to OPTIONS',
    ]


def test_the_worlds_are_worth_the_test() -> None:
    worlds = [World(seed, 60) for seed in range(12)]
    for case in CASES:
        made = [case.compared(run(case, Play(case, world).whole())) for world in worlds]
        assert all(sum(len(out[name]) for out in made) > 20 for name in case.results), case
    rejected = {each.reason for world in worlds for some in world.rejected().values() for each in some}
    assert rejected == {
        "not_json", "contract", "null_value", "unknown_version", "too_large", "wrong_key", "wrong_partition",
        "invalid_asset",
    }  # fmt: skip
    values = [r.value for world in worlds for rs in world.derived.values() for r in rs if r.key not in {None, b"x"}]
    events = [decode_event(value) for value in values if value is not None]
    assert {event.operator for event in events} >= {*KINDS}
    assert {event.metric for event in events} >= {*EXAMPLES}
    together = Counter((e.basis, e.value) for e in events if e.metric == "availability")
    assert max(together.values()) > 1, "assets of a partition that are lost together, in an order that is promised"
    assert {type(event.value) for event in events} >= {int, str, bool, list, dict, type(None)}


# ---- what each of them owes


@each
@usual
@given(WORLDS, st.integers(0, 1 << 32))
def test_batches_orders_of_partitions_and_resumes_change_nothing(case: Case, world: World, seed: int) -> None:
    promise(case, world, seed)


def promise(case: Case, world: World, seed: int) -> None:
    """An operator gives the same whole, cut, and resumed."""
    whole = case.compared(run(case, Play(case, world).whole()))
    chance = Random(seed)
    assert case.compared(run_cut(case, Play(case, world).cut(chance), chance)) == whole


@pytest.mark.parametrize("case", [case for case in CASES if case.resumes], ids=str)
@fewer
@given(WORLDS, st.integers(0, 1 << 32))
def test_copies_give_the_same(case: Case, world: World, seed: int) -> None:
    whole = case.compared(run(case, Play(case, world).whole()))
    for copies in (2, 4):
        assert case.compared(run_copies(case, world, copies, Random(seed))) == whole


@pytest.mark.parametrize("case", [case for case in CASES if not case.resumes], ids=str)
@fewer
@given(WORLDS)
def test_before_the_stream_nothing_is_kept_over_a_restart(case: Case, world: World) -> None:
    worker, streams = case.build()
    for name, items in Play(case, world).whole():
        worker.push(streams[name], items)
    assert {*worker.snapshot().values()} <= {f"{case.name} 1".encode()}


def test_a_flood_of_waiting_events_changes_no_last_value(monkeypatch: pytest.MonkeyPatch) -> None:
    [case] = [case for case in CASES if case.name == "live_values"]
    for seed in range(60):
        world, chance = World(seed, 60), Random(seed)
        whole = case.compared(run(case, Play(case, world).whole()))
        with monkeypatch.context() as few:
            few.setattr("operators.live_values.MOST_HELD", 2)
            assert case.compared(run_cut(case, Play(case, world).cut(chance), chance)) == whole


def test_the_hashes_of_python_change_nothing() -> None:
    program = "from tests.operators.contract import digest; print(digest(12, 100))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    said = [process.communicate(timeout=100)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert said[0] == said[1]
    assert len(said[0]) > 60


# ---- the engine itself


class Collect(FixedPartitionedSink[Any, None]):
    """Keeps what it is given, over restarts."""

    def __init__(self, out: list[Any]) -> None:
        self._out = out

    def list_parts(self) -> list[str]:
        return ["all"]

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[Any, None]:
        out = self._out

        class Part(StatefulSinkPartition[Any, None]):
            def write_batch(self, values: list[Any]) -> None:
                out.extend(values)

            def snapshot(self) -> None:
                return None

        return Part()


def in_the_engine(case: Case, world: World, store: Path) -> dict[str, list[Keyed]]:
    """The operator in a dataflow that the engine runs, ended and resumed a few times."""
    pieces: dict[str, list[Any]] = {name: [] for name in case.streams}
    chance = Random(world.seed)
    for name, items in Play(case, world).cut(chance):
        pieces[name] += items
        if case.resumes and chance.random() < 0.1:
            pieces[name].append(TestingSource.EOF())
    out: dict[str, list[Keyed]] = {name: [] for name in case.results}
    init_db_dir(store, 1)
    for _ in range(1 + sum(isinstance(item, TestingSource.EOF) for items in pieces.values() for item in items)):
        flow = Dataflow("contract")
        streams = {name: op.input(name, flow, TestingSource(items)) for name, items in pieces.items()}
        for name, down in named(case.function("under-test", **streams, **case.options())).items():
            whole = op.map(f"{name}-keyed", down, lambda keyed: (keyed[0], keyed))
            op.output(name, whole, Collect(out[name]))
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(store)))
    return out


@each
def test_the_engine_does_what_these_tests_think_it_does(case: Case, tmp_path: Path) -> None:
    world = World(3, 60)
    whole = case.compared(run(case, Play(case, world).whole()))
    assert any(whole.values())
    assert case.compared(in_the_engine(case, world, tmp_path)) == whole


# ---- that these tests notice


class Counting(StatefulBatchLogic[Batch, list[Outgoing], Any]):
    """Numbers the frames of a partition, and keeps its promises; what derives from it breaks one."""

    def __init__(self, saved: Any) -> None:
        self.count = int(saved or 0)

    def on_batch(self, values: list[Batch]) -> Any:
        return [[self.number(r) for b in values for r in b.records if isinstance(r, Frame)]], self.RETAIN

    def number(self, frame: Frame) -> Outgoing:
        self.count += 1
        return Outgoing(0, frame.asset.encode(), str(self.count).encode())

    def snapshot(self) -> Any:
        return str(self.count).encode()


class Batches(Counting):
    def on_batch(self, values: list[Batch]) -> Any:
        self.count += len(values)
        return super().on_batch(values)


class Forgets(Counting):
    def snapshot(self) -> Any:
        return b""


class Clock(Counting):
    def number(self, frame: Frame) -> Outgoing:
        return Outgoing(0, None, str(time_ns()).encode())


class Awake(Counting):
    def notify_at(self) -> Any:
        return time_ns()


class Alive(Counting):
    def snapshot(self) -> Any:
        return {"count": self.count}


class Common(Counting):
    def number(self, frame: Frame) -> Outgoing:
        everything[frame.source] = everything.get(frame.source, 0) + 1
        return Outgoing(0, None, str(everything[frame.source]).encode())


class Ended(Counting):
    def on_batch(self, values: list[Batch]) -> Any:
        return super().on_batch(values)[0], self.count > 5


everything: dict[str, int] = {}


def newcomer(logic: type[Counting]) -> Case:
    """An operator around one of these."""

    @operator
    def counts(step_id: str, up: KeyedStream[Batch]) -> KeyedStream[list[Outgoing]]:
        everything.clear()
        return op.stateful_batch("counts", up, logic)

    return Case("counts", logic.__name__, counts)


def test_an_operator_that_keeps_its_promises_passes() -> None:
    for seed in range(20):
        promise(newcomer(Counting), World(seed, 40), seed)


@pytest.mark.parametrize("logic", [Batches, Forgets, Clock, Awake, Alive, Common, Ended])
def test_an_operator_that_breaks_a_promise_is_caught(logic: type[Counting]) -> None:
    with pytest.raises(AssertionError):  # noqa: PT012 - one world may not show it
        for seed in range(20):
            promise(newcomer(logic), World(seed, 40), seed)
