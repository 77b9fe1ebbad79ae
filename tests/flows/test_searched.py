"""How far back a stream is searched: once for what is not there, to its beginning only for whom it may concern."""

from pathlib import Path

import pytest

from assets.batch import RawBatch
from assets.frame import encode_tick
from flows._searched import Searched
from operators._tails import Tails
from tests.streams import tick


def heard(*sources: str) -> Tails:
    found = Tails("gw-1")
    values: list[bytes | None] = [encode_tick(tick(n, source)) for n, source in enumerate(sources, 1)]
    found.read(RawBatch("asset-stream", 0, 0, len(values), list(range(len(values))), [None] * len(values), values))
    return found


def test_on_a_new_disk_everything_may_stand_on_the_stream(tmp_path: Path) -> None:
    assert Searched(tmp_path / "known", ["s", "t"], 500).since(["s"]) == 0


def test_what_one_copy_did_not_find_no_copy_searches_again(tmp_path: Path) -> None:
    Searched(tmp_path / "known", ["s", "t", "u"], 500).note(heard("u"), 0)
    later = Searched(tmp_path / "known", ["s", "t", "u"], 900)
    assert [later.since([source]) for source in "stu"] == [500, 500, 0]
    later.note(heard(), 600)
    assert later.since(["t"]) == 500, "what lies between was not looked at"
    later.note(heard(), 500)
    assert Searched(tmp_path / "known", [], 901).since(["s", "t"]) == 900


def test_a_source_that_is_new_in_the_plant_is_searched_for_nowhere(tmp_path: Path) -> None:
    Searched(tmp_path / "known", ["s"], 500)
    again = Searched(tmp_path / "known", ["s", "new"], 900)
    assert (again.since(["new"]), again.since(["s"]), again.since([])) == (900, 0, 900)
    Searched(tmp_path / "known", ["s"], 950)
    assert Searched(tmp_path / "known", ["s", "new"], 990).since(["new"]) == 900, "it was read once"


def test_a_file_that_cannot_be_read_makes_search_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "known").write_text("{")
    assert Searched(tmp_path / "known", ["s"], 500).since(["s"]) == 0
    assert "the stream is searched again" in caplog.text
