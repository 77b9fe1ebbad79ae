"""Which copy reads which source: evenly, and never moved by other sources."""

from pathlib import Path

import pytest

from flows._shares import shares

BEFORE = ["forming", "meter-01", "meter-02", "oven"]


@pytest.mark.parametrize("copies", [2, 3, 4])
def test_a_source_that_comes_or_goes_moves_no_other(tmp_path: Path, copies: int) -> None:
    first = shares(tmp_path, "gw-1", BEFORE, copies)
    more = shares(tmp_path, "gw-1", [*BEFORE, "crane"], copies)
    assert {source: more[source] for source in BEFORE} == first
    fewer = shares(tmp_path, "gw-1", BEFORE[2:], copies)
    assert fewer == {source: first[source] for source in BEFORE[2:]}
    assert shares(tmp_path, "gw-1", [*BEFORE, "crane"], copies) == more


def test_every_copy_has_sources_as_long_as_there_are_enough(tmp_path: Path) -> None:
    assert set(shares(tmp_path, "gw-1", BEFORE, 4).values()) == {0, 1, 2, 3}
    assert set(shares(tmp_path, "gw-2", BEFORE, 1).values()) == {0}


def test_another_number_of_copies_leaves_the_decision_for_this_one(tmp_path: Path) -> None:
    shares(tmp_path, "gw-1", BEFORE[1:], 3)
    three = shares(tmp_path, "gw-1", BEFORE, 3)
    shares(tmp_path, "gw-1", BEFORE, 2)
    assert shares(tmp_path, "gw-1", BEFORE, 3) == three


def test_a_file_that_cannot_be_read_is_told_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "gw-1.shares.json").write_text("{")
    assert shares(tmp_path, "gw-1", BEFORE, 2) == {"forming": 0, "meter-01": 1, "meter-02": 0, "oven": 1}
    assert "are shared among the copies anew" in caplog.text
