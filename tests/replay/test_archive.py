"""The archive as DuckDB sees it: exactly what was published, in views with one meaning."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.batch import Batch, DerivedBatch
from assets.fields import Value
from assets.frame import DerivedEvent, Flag, Frame, Observation
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


class Plant(Archive):
    """An archive of definitions, too."""

    def define(self, second: float, items: dict[str, dict[str, Any]], path: str = "a/b/c/d") -> None:
        """The definition of "press-01"; items are their options."""
        model: Any = {"type": "press", "path": path, "items": {n: {"source": "s", **o} for n, o in items.items()}}
        self.observe(("_model", model, second))

    def told(self, item: str) -> list[tuple[Any, ...]]:
        """The series of an item: value, name by which it was told, unit."""
        query = 'SELECT value, told_as, unit FROM series WHERE asset = $1 AND item = $2 ORDER BY "offset"'
        return ask(connect(self.root), query, "press-01", item)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path / "g1")


def test_a_renamed_item_is_one_series_under_its_new_name(plant: Plant) -> None:
    plant.define(0, {"temperature": {"unit": "Cel"}})
    plant.observe(("temperature", 1.0, 1), ("force", 7.0, 1))
    plant.define(2, {"core": {"unit": "Cel", "was": "temperature"}})
    plant.observe(("core", 2.0, 3))
    plant.define(3.5, {"core": {"unit": "Cel", "was": "temperature"}})
    plant.observe(("core", 3.0, 4), ("temperature", 99.0, 4), asset="press-02")
    assert plant.told("core") == [(1.0, "temperature", "Cel"), (2.0, "core", "Cel")]
    assert plant.told("temperature") == []
    connection = connect(plant.root)
    assert ask(connection, "SELECT ts, value FROM signal('press-01', 'core', $1, $2)", at(1), at(9)) == [
        (at(1), 1.0),
        (at(3), 2.0),
    ]
    newest = ask(connection, "SELECT item, value FROM last_values('press-01') WHERE item <> '_model'")
    assert newest == [("core", 2.0), ("force", 7.0)]
    assert ask(connection, "SELECT item, value FROM observations WHERE asset = 'press-01' AND value = 1") == [
        ("temperature", 1.0)
    ]
    assert ask(connection, "SELECT count(*) FROM series") == ask(connection, "SELECT count(*) FROM observations")


def rename(plant: Plant, names: str) -> None:
    """Give an item these names, one after the other, and a value under each."""
    was: dict[str, Any] = {}
    for n, name in enumerate(names):
        plant.define(2 * n, {name: was})
        plant.observe((name, n, 2 * n + 1))
        was = {"was": name}


def test_an_item_is_followed_through_all_its_names_and_back(plant: Plant) -> None:
    rename(plant, "abca")
    assert [row[:2] for row in plant.told("a")] == [(0, "a"), (1, "b"), (2, "c"), (3, "a")]


def test_a_name_that_is_given_again_begins_another_series(plant: Plant) -> None:
    plant.define(0, {"a": {}})
    plant.observe(("a", 1, 1))
    plant.define(2, {"b": {"was": "a"}})
    plant.observe(("b", 2, 3))
    plant.define(4, {"b": {}, "a": {"unit": "kW"}})
    plant.observe(("a", 3, 5), ("b", 4, 5))
    plant.define(6, {"c": {"was": "a"}, "b": {}})
    plant.observe(("c", 5, 7), ("b", 6, 7))
    assert plant.told("b") == [(1, "a", None), (2, "b", None), (4, "b", None), (6, "b", None)]
    assert plant.told("c") == [(3, "a", "kW"), (5, "c", None)]


def test_an_item_that_is_renamed_again_after_it_was_renamed_back_is_one_series(plant: Plant) -> None:
    rename(plant, "abab")
    assert [row[:2] for row in plant.told("b")] == [(0, "a"), (1, "b"), (2, "a"), (3, "b")]


def test_a_value_keeps_the_unit_in_which_it_was_told(plant: Plant) -> None:
    plant.observe(("a", 0, 0))
    plant.define(0, {"a": {"unit": "Cel"}})
    plant.observe(("a", 1, 1))
    plant.define(2, {"a": {"unit": "K"}}, "a/b/c/e")
    plant.observe(("a", 274, 3))
    assert plant.told("a") == [(0, "a", None), (1, "a", "Cel"), (274, "a", "K")]
    assert ask(connect(plant.root), "SELECT since, path FROM definitions ORDER BY since") == [
        (at(0), "a/b/c/d"),
        (at(2), "a/b/c/e"),
    ]


def test_a_definition_that_cannot_be_read_hides_nothing(plant: Plant) -> None:
    plant.define(0, {"a": {"unit": "Cel"}, 'q"uo': {"unit": "K"}})
    for broken in ({"items": 3, "path": "a/b/c/d"}, [1], "press", None, 5, {"items": {"a": 7}}):
        plant.observe(("_model", broken, 1))
    plant.observe(("a", 1, 2))
    assert plant.told("a") == [(1, "a", "Cel")]
