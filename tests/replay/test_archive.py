"""The archive as DuckDB sees it: exactly what was published, in views with one meaning."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.batch import Batch, DerivedBatch
from assets.frame import DerivedEvent, Flag, Frame, Observation, Value
from replay.archive import connect, refresh, write_views
from sinks.parquet import DerivedSink, ObservationSink
from sources._partition import Stop

T0 = datetime(2025, 11, 20, 23, 59, 50, tzinfo=UTC)
BAD = 0x80000000
UNCERTAIN = 0x40000000


def us(seconds: float) -> int:
    return int(T0.timestamp() * 1e6 + seconds * 1e6)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


class Archive:
    """Writes published rows, one range per call."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.offset = 0
        self._observations = ObservationSink(root, "asset-stream", Stop()).build_part("a", "0000", None)
        self._derived = DerivedSink(root, "asset-state.g1", Stop()).build_part("a", "0000", None)

    def observe(self, *observations: tuple[Any, ...], asset: str = "press-01") -> None:
        """Observations are (item, value, second[, status, flags])."""
        made = [Observation(item, value, *_rest(*rest)) for item, value, *rest in observations]
        frame = Frame(1, asset, "forming", "gw-1", 1, 1, us(100), "m", made)
        self._observations.write_batch([Batch(0, self.offset, self.offset + 1, [self.offset], [frame], True)])
        self.offset += 1

    def derive(self, *events: tuple[str, Value, float]) -> None:
        """Events are (asset, value, second) of the metric "running"."""
        made = [
            DerivedEvent(1, asset, "running", us(second), value, None, None, None, None, 0, f"{i}", (0, i, 0), "run", 1)
            for i, (asset, value, second) in enumerate(events)
        ]
        self._derived.write_batch([DerivedBatch(0, 0, len(made), list(range(len(made))), made, True)])


def _rest(second: float, status: int = 0, flags: int = 0) -> tuple[int, int, int]:
    return status, us(second), flags


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "it's here" / "g1")


def ask(connection: duckdb.DuckDBPyConnection, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    return connection.execute(query, parameters).fetchall()


def test_an_archive_that_holds_nothing_has_empty_views_with_all_columns(tmp_path: Path) -> None:
    connection = connect(tmp_path / "nothing")
    assert ask(connection, "FROM observations") == ask(connection, "FROM derived") == []
    columns = [row[0] for row in ask(connection, "DESCRIBE observations")]
    assert columns[:6] == ["asset", "item", "ts", "value", "good", "quality"]


def test_any_number_is_a_value_and_quality_is_a_word(archive: Archive) -> None:
    archive.observe(
        ("a", 1.5, 0), ("b", 7, 0), ("c", 1 << 80, 0), ("d", "on", 0), ("e", None, 0, BAD), ("f", 2, 0, UNCERTAIN)
    )
    rows = ask(connect(archive.root), "SELECT item, value, good, quality FROM observations ORDER BY idx")
    assert rows == [
        ("a", 1.5, True, "Good"),
        ("b", 7.0, True, "Good"),
        ("c", float(1 << 80), True, "Good"),
        ("d", None, True, "Good"),
        ("e", None, False, "Bad"),
        ("f", 2.0, False, "Uncertain"),
    ]


def test_rows_repeated_by_key_frames_are_left_out(archive: Archive) -> None:
    archive.observe(("a", 1.0, 0), ("a", 1.0, 0, 0, int(Flag.KEYFRAME)))
    connection = connect(archive.root)
    assert len(ask(connection, "FROM observations")) == 1
    assert len(ask(connection, "FROM observations_all")) == 2


def test_only_what_the_manifest_names_is_seen(archive: Archive) -> None:
    archive.observe(("a", 1.0, 0))
    (file,) = archive.root.glob("observations/date=*/*.parquet")
    file.with_name("p00000-00000000000000000007-00000000000000000008.parquet").write_bytes(file.read_bytes())
    with (archive.root / "observations/manifest/p00000.jsonl").open("a") as manifest:
        manifest.write('{"first":1,"next":2,"rows":1,"files":[{"path":"date=2025-11-20/p00000-0')
    assert len(ask(connect(archive.root), "FROM observations")) == 1


def test_a_refresh_shows_what_was_published_since(archive: Archive) -> None:
    archive.observe(("a", 1.0, 0))
    connection = connect(archive.root)
    archive.observe(("a", 2.0, 20))
    refresh(connection, archive.root)
    rows = ask(connection, "SELECT value, date::VARCHAR, ts, received FROM observations ORDER BY ts")
    assert rows == [(1.0, "2025-11-20", at(0), at(100)), (2.0, "2025-11-21", at(20), at(100))]


def test_last_values_are_the_newest_by_event_time(archive: Archive) -> None:
    archive.observe(("a", 1.0, 5), ("b", "x", 1), ("a", 2.0, 3))
    archive.observe(("a", 9.0, 9), asset="press-02")
    rows = ask(connect(archive.root), "SELECT item, value, text, ts FROM last_values('press-01')")
    assert rows == [("a", 1.0, "1.0", at(5)), ("b", None, "x", at(1))]


def test_a_signal_begins_with_the_value_in_force(archive: Archive) -> None:
    archive.observe(*(("a", float(second), second) for second in (0, 5, 8, 12, 20)), ("b", 6.0, 6))
    rows = ask(connect(archive.root), "SELECT value FROM signal('press-01', 'a', ?, ?)", at(8.5), at(20))
    assert rows == [(8.0,), (12.0,)]


def test_state_durations_add_up_to_the_time_asked_for(archive: Archive) -> None:
    archive.derive(("p1", "Run", 0), ("p2", "Stop", 2), ("p1", "Idle", 10), ("p1", "Run", 15), ("p1", None, 18))
    rows = ask(connect(archive.root), "FROM state_durations('running', ?, ?)", at(5), at(25))
    assert rows == [
        ("p1", "Idle", 5.0, 1, 5.0),
        ("p1", "Run", 8.0, 2, 5.0),
        ("p1", None, 7.0, 1, 7.0),
        ("p2", "Stop", 20.0, 1, 20.0),
    ]


def test_the_text_beside_the_archive_works_without_us_and_finds_later_files(archive: Archive) -> None:
    text = write_views(archive.root).read_text()
    archive.observe(("a", 1.0, 0))
    connection = duckdb.connect()
    connection.execute(text)
    assert ask(connection, "SELECT value FROM observations") == [(1.0,)]


def test_joins_as_of_are_not_planned_as_nested_loops(archive: Archive) -> None:
    assert ask(connect(archive.root), "SELECT current_setting('asof_loop_join_threshold')::INT") == [(0,)]
