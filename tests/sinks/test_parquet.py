"""The archive on a real disk: exactly once through kills, dates, value types, cuts and a full disk."""

import errno
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow.parquet as pq
import pytest

from assets.batch import Batch, DerivedBatch
from assets.fields import Value
from assets.frame import DerivedEvent, Frame, Observation, Tick
from deploy.processes import Child
from deploy.wait import until
from sinks._manifest import ManifestError, published
from sinks._wait import Interrupted
from sinks.parquet import DerivedSink, ObservationSink, prepare
from sources._partition import Stop
from tests.sinks import archive_flow

T0 = 1_763_682_900_000_000
MINUTE = 60_000_000
DAY = 86_400_000_000


def frame(received: int, *values: Value, gateway: str = "gw-1", times: Sequence[int | None] | None = None) -> Frame:
    times = times or [received - 1_000] * len(values)
    observations = [
        Observation(f"item-{i}", value, 0, time) for i, (value, time) in enumerate(zip(values, times, strict=True))
    ]
    return Frame(1, "press-01", "forming", gateway, 1, 1, received, "m", observations)


def batch(first: int, *records: Frame | Tick, end: bool = False) -> Batch:
    offsets = list(range(first, first + len(records)))
    return Batch(2, first, first + len(records), offsets, list(records), end)


def part(root: Path, state: bytes | None = None, **options: int) -> Any:
    return ObservationSink(root, "asset-stream", Stop(), **options).build_part("archive", "0002", state)


def rows(root: Path, table: str = "observations") -> list[dict[str, Any]]:
    """All published rows, in the order of the manifests."""
    folder = root / table
    found = [row for one in published(folder) for file in one.files for row in _read(folder / file.path)]
    assert len(found) == sum(one.rows for one in published(folder))
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    return list(pq.ParquetFile(path).read().to_pylist())


def origins(root: Path) -> list[tuple[int, int, int]]:
    return [(row["part"], row["offset"], row["idx"]) for row in rows(root)]


def ranges(root: Path) -> list[tuple[int, int, int]]:
    return [(one.first, one.next, one.rows) for one in published(root / "observations")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "lose_recovery", [False, True], ids=["with its recovery store", "with its recovery store lost"]
)
def test_a_flow_killed_anywhere_archives_every_row_exactly_once(tmp_path: Path, lose_recovery: bool) -> None:
    root, recovery = tmp_path / "archive", tmp_path / "recovery"
    command = [sys.executable, archive_flow.__file__, str(root), str(recovery)]
    where = {"PYTHONPATH": str(Path(__file__).parents[2])}
    chance = random.Random(7)
    total = len(archive_flow.expected())
    for kill in range(8):
        flow = Child("archive", command, tmp_path / "flow.log", where).start()
        goal = total * (kill + chance.random()) / 9

        def reached(flow: Child = flow, goal: float = goal) -> bool:
            return not flow.running or sum(one.rows for one in published(root / "observations")) >= goal

        until(reached, 60, f"{goal:.0f} rows", every_s=chance.uniform(0.001, 0.05))
        assert flow.running, flow.crash_report()
        flow.kill()
        if lose_recovery and kill % 3 == 1:
            shutil.rmtree(recovery)
    flow = Child("archive", command, tmp_path / "flow.log", where).start()
    assert flow.wait(60) == 0, flow.crash_report()
    counts = Counter(origins(root))
    assert set(counts) == archive_flow.expected()
    assert max(counts.values()) == 1
    files = {str(path.relative_to(root / "observations")) for path in root.glob("observations/date=*/*")}
    assert files == {file.path for one in published(root / "observations") for file in one.files}


def test_the_same_offsets_make_the_same_ranges_however_they_are_batched(tmp_path: Path) -> None:
    records = [archive_flow.record(2, offset) for offset in range(5_000)]
    chance = random.Random(3)
    for name, most in (("large", 5_000), ("small", 90)):
        archive, first = part(tmp_path / name, roll_rows=700, roll_us=40_000_000), 0
        while first < len(records):
            end = min(first + chance.randint(1, most), len(records))
            archive.write_batch([batch(first, *records[first:end], end=end == len(records))])
            first = end
        archive.close()
    assert ranges(tmp_path / "large") == ranges(tmp_path / "small")
    assert len(ranges(tmp_path / "large")) > 5


def test_rows_stand_under_the_date_of_their_event_in_utc(tmp_path: Path) -> None:
    midnight = T0 + 5 * MINUTE
    archive = part(tmp_path)
    archive.write_batch([batch(0, frame(midnight - 1, 1.0, times=[None]), frame(midnight, 2.0, times=[None]))])
    archive.write_batch([batch(2, frame(midnight + 1, 3.0, times=[midnight - 3 * DAY]), end=True)])
    files = {file.date: file.rows for one in published(tmp_path / "observations") for file in one.files}
    assert files == {"2025-11-18": 1, "2025-11-20": 1, "2025-11-21": 1}


def test_a_skewed_clock_does_not_date_a_row(tmp_path: Path) -> None:
    skewed = Observation("item", 1.0, 0, T0 + 400 * DAY, 16)
    archive = part(tmp_path)
    archive.write_batch([batch(0, Frame(1, "press-01", "forming", "gw-1", 1, 1, T0, "m", [skewed]), end=True)])
    (row,) = rows(tmp_path)
    assert (row["ts"].isoformat(), row["lag_us"], row["flags"]) == ("2025-11-20T23:55:00+00:00", 0, 16)


@pytest.mark.parametrize(
    ("value", "column", "kept"),
    [
        (81.25, "v_num", 81.25),
        (7, "v_int", 7),
        (-(1 << 63), "v_int", -(1 << 63)),
        (1 << 63, "v_json", "9223372036854775808"),
        (-(10**30), "v_json", "-1000000000000000000000000000000"),
        (True, "v_bool", True),
        ("Execute", "v_str", "Execute"),
        ("", "v_str", ""),
        ([1, "ä", None], "v_json", '[1,"ä",null]'),
        ({"a": 10**30}, "v_json", '{"a":1000000000000000000000000000000}'),
        (None, "", None),
    ],
)
@pytest.mark.parametrize("beside", [(), (1.5, 2, True, "text", [1], None)], ids=["alone", "among others"])
def test_every_type_of_value_has_its_column(
    tmp_path: Path, value: Value, column: str, kept: object, beside: tuple[Value, ...]
) -> None:
    archive = part(tmp_path)
    archive.write_batch([batch(0, frame(T0, value, *beside), end=True)])
    row = rows(tmp_path)[0]
    filled = {name: row[name] for name in row if name.startswith("v_") and row[name] is not None}
    assert filled == ({column: kept} if column else {})


def test_what_no_gateway_writes_is_archived_as_far_as_it_fits(tmp_path: Path) -> None:
    strange = [Observation("item", "\udcff", 1 << 40, 1 << 70, 1 << 20), Observation("item", 2.0, 0, -(10**18))]
    archive = part(tmp_path)
    archive.write_batch([batch(0, Frame(1, "press-01", "forming", "gw-1", 1, 1, T0, "m", strange), end=True)])
    first, second = rows(tmp_path)
    assert (first["v_str"], first["status"], first["flags"], first["lag_us"]) == ("?", 0, 0, 0)
    assert (second["v_num"], second["lag_us"]) == (2.0, 0)


def test_a_range_of_ticks_has_no_file_but_counts(tmp_path: Path) -> None:
    ticks = [Tick(1, "gw-1", 1, i, T0 + i * MINUTE, {}) for i in range(12)]
    archive = part(tmp_path)
    archive.write_batch([batch(0, *ticks, end=True)])
    assert ranges(tmp_path) == [(0, 5, 0), (5, 10, 0), (10, 12, 0)]
    assert not list(tmp_path.glob("observations/date=*"))


def test_a_gateway_whose_clock_is_years_ahead_does_not_cut_at_each_record(tmp_path: Path) -> None:
    records = [frame(T0 + i * 1_000 + i % 2 * 9_999 * DAY // 30, 1.0, gateway=f"gw-{i % 2}") for i in range(100)]
    archive = part(tmp_path)
    archive.write_batch([batch(0, *records, end=True)])
    assert ranges(tmp_path) == [(0, 100, 100)]


def test_rows_since_the_snapshot_come_again_and_are_there_once(tmp_path: Path) -> None:
    archive = part(tmp_path)
    archive.write_batch([batch(0, frame(T0, 0.0))])
    state = archive.snapshot()
    archive.write_batch([batch(1, frame(T0, 1.0))])
    archive.snapshot()  # of an epoch that was never closed
    archive.close()
    archive = part(tmp_path, state)
    archive.write_batch([batch(1, frame(T0, 1.0), end=True)])
    assert origins(tmp_path) == [(2, 0, 0), (2, 1, 0)]


def test_a_torn_last_line_of_a_manifest_is_no_line(tmp_path: Path) -> None:
    archive = part(tmp_path)
    archive.write_batch([batch(0, frame(T0, 0.0), end=True)])
    archive.close()
    with (tmp_path / "observations/manifest/p00002.jsonl").open("ab") as file:
        file.write(b'{"first":1,"next":2,"ro')
    assert origins(tmp_path) == [(2, 0, 0)]
    archive = part(tmp_path)
    archive.write_batch([batch(0, frame(T0, 0.0), frame(T0, 1.0), end=True)])
    assert origins(tmp_path) == [(2, 0, 0), (2, 1, 0)]


def test_offsets_that_were_not_read_are_refused(tmp_path: Path) -> None:
    archive = part(tmp_path)
    archive.write_batch([batch(0, frame(T0, 0.0), end=True)])
    with pytest.raises(ManifestError) as error:
        archive.write_batch([batch(5, frame(T0, 1.0))])
    assert str(error.value) == (
        'could not archive topic "asset-stream" partition 2: offsets 1 to 4 were not read; archive this stream under '
        "another root, or restore the records"
    )


@pytest.mark.parametrize(
    ("lost", "reason"),
    [("manifest/p00002.jsonl", "manifest has lost ranges"), ("spool/p00002.arrow", "spool has lost rows")],
)
def test_a_recovery_store_that_is_ahead_of_the_disk_is_refused(tmp_path: Path, lost: str, reason: str) -> None:
    archive = part(tmp_path)
    archive.write_batch([batch(0, frame(T0, 0.0), end=True), batch(1, frame(T0, 1.0))])
    state = archive.snapshot()
    archive.close()
    (tmp_path / "observations" / lost).unlink()
    with pytest.raises(ManifestError, match=reason):
        part(tmp_path, state)


def test_a_store_older_than_what_another_store_has_made_of_the_spool_is_refused(tmp_path: Path) -> None:
    first = part(tmp_path)
    first.write_batch([batch(0, frame(T0, 0.0))])
    stale = first.snapshot()
    first.close()
    other = part(tmp_path)  # reads the stream again, in other batches
    other.write_batch([batch(0, frame(T0, 0.0), frame(T0 + 1, 1.0))])
    fresh = other.snapshot()
    other.close()
    with pytest.raises(ManifestError, match="another store's run has filled its spool; stop the flow, delete its rec"):
        part(tmp_path, stale)
    again = part(tmp_path, fresh)
    again.write_batch([batch(2, frame(T0, 2.0), end=True)])
    assert origins(tmp_path) == [(2, 0, 0), (2, 1, 0), (2, 2, 0)]


def test_a_partition_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    writes = f"from tests.sinks.test_parquet import part, Path; p = part(Path({str(tmp_path)!r})); print(1); input()"
    with subprocess.Popen([sys.executable, "-c", writes], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(ManifestError, match="another process writes it; run one archive per partition and folder"):
            part(tmp_path)
        other.kill()
    part(tmp_path).close()


def test_a_full_disk_makes_the_flow_wait_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, failures = os.pwrite, iter(range(3))

    def pwrite(handle: int, data: memoryview, at: int) -> int:
        if next(failures, None) is not None:
            real(handle, data[: len(data) // 2], at)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    archive = part(tmp_path)
    archive.write_batch([batch(0, frame(T0, 0.0), end=True)])
    assert origins(tmp_path) == [(2, 0, 0)]
    path = tmp_path / "observations/spool/p00002.arrow"
    assert caplog.messages == [
        f'could not write "{path}": the disk is full; waiting for space, nothing is lost',
        f'wrote "{path}": there is space again',
    ]


def test_an_archive_that_begins_on_a_full_disk_waits_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table, opened, failures = pq.write_table, os.open, iter(range(6))

    def full(path: object) -> None:
        if str(path).endswith((".tmp", ".arrow", ".jsonl")) and next(failures, None) is not None:
            raise OSError(errno.ENOSPC, "No space left on device")

    def write_table(rows: Any, path: Path) -> None:
        full(path)
        table(rows, path)

    def open_file(path: Path, flags: int, mode: int = 0o777) -> int:
        full(path)
        return opened(path, flags, mode)

    monkeypatch.setattr(pq, "write_table", write_table)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_file)
        archive = part(tmp_path)
    monkeypatch.undo()
    assert next(failures, None) is None
    archive.write_batch([batch(0, frame(T0, 0.0), end=True)])
    assert origins(tmp_path) == [(2, 0, 0)]
    said = caplog.messages
    assert len(said) % 2 == 0
    assert all("the disk is full; waiting for space, nothing is lost" in line for line in said[::2])
    assert all("there is space again" in line for line in said[1::2])


def test_a_stop_ends_the_wait_for_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    stop = Stop()
    archive = ObservationSink(tmp_path, "asset-stream", stop).build_part("archive", "0002", None)
    archive.write_batch([batch(0, frame(T0, 0.0))])
    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr("sinks._wait.GRACE_S", 0.0)
    stop.request()
    with pytest.raises(Interrupted, match="the disk is full before the stop"):
        archive.snapshot()


def test_frames_of_any_size_unfold_to_their_observations_however_they_are_spooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks._frames._UNFOLDED_BYTES", 1)
    sizes = [0, 3, 1, 0, 0, 2, 1, 1, 4, 0]
    archive = part(tmp_path)
    for offset, size in enumerate(sizes):
        received = T0 + offset
        values = [f"{offset}.{index}" for index in range(size)]
        archive.write_batch(
            [batch(offset, frame(received, *values, times=[None, T0 - 1, received, None][:size] or None))]
        )
        if offset % 3 == 0:
            archive.snapshot()
    archive.write_batch([batch(len(sizes), end=True)])
    found = [(row["offset"], row["idx"], row["item"], row["v_str"], row["lag_us"]) for row in rows(tmp_path)]
    assert found == [
        (offset, index, f"item-{index}", f"{offset}.{index}", offset + 1 if index == 1 else 0)
        for offset, size in enumerate(sizes)
        for index in range(size)
    ]


def test_measurements_of_full_precision_take_hardly_more_than_their_doubles(tmp_path: Path) -> None:
    chance = random.Random(5)
    archive = part(tmp_path)
    archive.write_batch(
        [batch(0, *(frame(T0, *(chance.random() for _ in range(120))) for _ in range(1_000)), end=True)]
    )
    (path,) = tmp_path.glob("observations/date=*/*.parquet")
    groups = pq.ParquetFile(path).metadata
    chunk = groups.row_group(0).column(groups.schema.names.index("v_num"))
    assert (groups.num_rows, chunk.num_values) == (120_000, 120_000)
    assert chunk.total_compressed_size < 8.5 * chunk.num_values


def test_derived_events_keep_what_they_say(tmp_path: Path) -> None:
    event = DerivedEvent(
        1, "press-01", "running", T0, "Idle", {"was": 1}, T0 - 5, T0, 5, 0, "2:17:1:running:0", (2, 17, 1), "run", 3, 1
    )
    archive = DerivedSink(tmp_path, "asset-state.g1", Stop()).build_part("archive", "0002", None)
    archive.write_batch([DerivedBatch(2, 4, 5, [4], [event], True)])
    (row,) = rows(tmp_path, "derived")
    instants = {name: row.pop(name).timestamp() for name in ("ts", "since", "until")}
    assert instants == {"ts": T0 / 1e6, "since": (T0 - 5) / 1e6, "until": T0 / 1e6}
    assert {name: value for name, value in row.items() if value is not None} == {
        "asset": "press-01",
        "metric": "running",
        "v_str": "Idle",
        "previous": '{"was":1}',
        "duration_us": 5,
        "status": 0,
        "id": "2:17:1:running:0",
        "basis_part": 2,
        "basis_offset": 17,
        "basis_idx": 1,
        "part": 2,
        "offset": 4,
        "operator": "run",
        "operator_version": 3,
        "revision": 1,
    }


def test_workers_that_prepare_an_archive_at_once_do_not_meet(tmp_path: Path) -> None:
    begin = Barrier(8, timeout=60)

    def worker() -> None:
        for n in range(50):
            begin.wait()
            prepare(tmp_path / str(n))

    with ThreadPoolExecutor(8) as workers:
        for done in [workers.submit(worker) for _ in range(8)]:
            done.result()
