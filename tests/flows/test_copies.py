"""N copies of a flow by i/N: from 1 to 3 to 2 on one machine under load, nothing is lost and nothing comes twice."""

from collections import Counter
from pathlib import Path
from signal import SIGTERM

import pytest

from assets.frame import Frame, Tick, decode_event, decode_frame, decode_tick
from assets.stream import ASSET_STREAM, own_partitions, state_topic
from deploy.processes import Flow
from deploy.stack import Stack
from deploy.wait import until
from flows._site import View, progress_group
from operators._assets import Assets
from operators.rules import Rules
from replay._parquet import Table
from sources.kafka import committed, read_range, watermarks
from tests.flows.bench import Bench, partition_of
from tests.streams import batch

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

ASSETS = [f"press-{n:03}" for n in range(500)]
VIEWS: tuple[View, ...] = ("derive", "archive")
PARTITIONS = range(12)


@pytest.fixture(scope="module")
def bench(servers: Stack, data: Path) -> Bench:
    """A stream of five hundred assets, archived in files of two seconds."""
    made = Bench(servers, data, ASSETS, PENSTOCK_ROLL="2s")
    made.define()
    return made


def through(bench: Bench, copies: int, *, to_the_end: bool) -> None:
    """Both views in so many copies while the stream grows; then a clean stop, anywhere unless at the end."""
    running = [bench.flow(v, recovery=True, copy=f"{i}/{copies}").start() for v in VIEWS for i in range(copies)]
    try:
        before = {view: progress(bench, view) for view in VIEWS}
        bench.write(6)
        until(lambda: ended(running) or all(moved(bench, v, before[v], to_the_end) for v in VIEWS), 120, "both views")
        assert not ended(running), ended(running)
        for flow in running:
            flow.signal(SIGTERM)
        assert [flow.wait(60) for flow in running] == [0] * len(running), [flow.last_lines() for flow in running]
    finally:
        for flow in running:
            if flow.running:
                flow.kill()


def ended(flows: list[Flow]) -> list[str]:
    """What those said that ended by themselves."""
    return [flow.crash_report() for flow in flows if flow.poll() is not None]


def progress(bench: Bench, view: View) -> dict[int, int]:
    """How far a view is."""
    return committed(bench.kafka, progress_group(view, 1), ASSET_STREAM)


def moved(bench: Bench, view: View, before: dict[int, int], to_the_end: bool) -> bool:
    """Whether every partition has moved, or come to the end."""
    if to_the_end:
        derived = view == "derive" or bench.finished(view, state_topic(1))
        return bench.finished(view) and derived
    now = progress(bench, view)
    return all(now.get(p, 0) > before.get(p, 0) for p in PARTITIONS)


def test_every_asset_lives_in_one_partition_and_every_partition_in_one_copy() -> None:
    assert {partition_of(asset, 12) for asset in ASSETS} == set(PARTITIONS)
    for copies in (1, 2, 3, 5, 12):
        owned = Counter(p for i in range(copies) for p in own_partitions(12, f"{i}/{copies}"))
        assert owned == Counter(PARTITIONS)


def test_from_one_to_three_to_two_copies_nothing_is_lost_or_repeated(bench: Bench) -> None:
    bench.write(4)
    through(bench, 1, to_the_end=False)
    through(bench, 3, to_the_end=False)
    through(bench, 2, to_the_end=True)

    stream = read_stream(bench)
    check_derived(bench, stream)
    check_archive(bench, stream)


def test_derive_that_takes_up_an_old_store_again_writes_nothing_twice(bench: Bench) -> None:
    before = bench.ends(state_topic(1))
    flow = bench.flow("derive", recovery=True).start()
    bench.write(4)
    until(lambda: flow.poll() is not None or bench.finished("derive"), 90, "derive to finish")
    assert flow.stop(60) == 0, flow.last_lines()
    assert sum(bench.ends(state_topic(1)).values()) > sum(before.values())
    check_derived(bench, read_stream(bench))


def read_stream(bench: Bench) -> dict[int, list[Frame | Tick]]:
    """All records; the place in the list is the offset."""
    stream: dict[int, list[Frame | Tick]] = {p: [] for p in PARTITIONS}
    for each in read_range(bench.kafka, ASSET_STREAM, watermarks(bench.kafka, ASSET_STREAM)):
        assert each.first == len(stream[each.partition])
        stream[each.partition] += [
            decode_tick(value or b"") if key is None else decode_frame(value or b"")
            for key, value in zip(each.keys, each.values, strict=True)
        ]
    return stream


def check_derived(bench: Bench, stream: dict[int, list[Frame | Tick]]) -> None:
    """Each partition of the derived state is the fold of the stream's partition: every event, once, in order."""
    found: dict[int, list[str]] = {p: [] for p in PARTITIONS}
    for each in read_range(bench.kafka, state_topic(1), watermarks(bench.kafka, state_topic(1))):
        found[each.partition] += [decode_event(value or b"").id for value in each.values]
    for p in PARTITIONS:
        expected = Assets(p, "rules", Rules).batch(batch(stream[p], partition=p))
        assert found[p] == [event.id for event in expected]
        assert len(found[p]) > 50


def check_archive(bench: Bench, stream: dict[int, list[Frame | Tick]]) -> None:
    """Every observation and every event up to where the archive has published is a row, once."""
    root = bench.data / "archive" / "g1"
    observations, derived = Table(root, "observations"), Table(root, "derived")
    for p in PARTITIONS:
        first, end = observations.extent(p)
        assert first == 0
        assert end > len(stream[p]) // 2
        rows = observations.read(p, 0, end, ["offset", "idx"]).rows()
        frames = [(n, record) for n, record in enumerate(stream[p][:end]) if isinstance(record, Frame)]
        assert rows == [(n, i) for n, record in frames for i in range(len(record.observations))]
        first, end = derived.extent(p)
        assert [offset for (offset,) in derived.read(p, 0, end, ["offset"]).rows()] == list(range(first, end))


def held(store: Path) -> str:
    """The process that has locked a store."""
    lock = store / "lock"
    return lock.read_text().strip() if lock.exists() else ""


def test_a_second_process_of_the_same_copy_is_refused(bench: Bench) -> None:
    flow, store = bench.flow("derive", recovery=True, copy="0/3").start(), bench.data / "recovery" / "derive-0-of-3"
    until(lambda: flow.poll() is not None or held(store) == str(flow.pid), 90, "the lock")
    second = bench.flow("derive", recovery=True, copy="0/3")
    second.log_path = bench.data / "logs" / "second.log"
    assert second.start().wait(60) == 2
    assert second.log_path.read_text() == (
        f'could not use recovery store "{store}": process {flow.pid} uses it; stop that process, or give this one a '
        "store of its own\n"
    )
    assert flow.stop(60) == 0, flow.last_lines()
