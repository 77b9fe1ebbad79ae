"""The pure parts of replay: what is compared with what, without servers and files."""

import msgspec
import polars as pl
import pytest

from assets.batch import Batch
from assets.frame import Frame
from replay._audit_archive import origins_of
from replay._audit_serve import ServeCheck
from replay._generations import both_finished
from replay._parquet import hash_sum, windows
from replay._span import parse_place
from replay._verify_archive import RowHash, compare_frames
from replay._verify_serve import compare_values
from sinks._manifest import Range
from tests.replay.plant_stream import definition

ROWS = pl.DataFrame(
    {
        "asset": ["a", "a", "b"],
        "item": ["x", "x", "y"],
        "part": [3, 3, 3],
        "offset": [5, 6, 6],
        "idx": [0, 0, 1],
        "v_num": [1.0, None, 2.5],
    }
)


def payload(offset: int, value: int = 0) -> bytes:
    return b'{"origin":[0,%d,0],"value":%d}' % (offset, value)


def test_places_are_read_as_they_are_written() -> None:
    assert parse_place("now") == {}
    assert parse_place("0:120,7:15") == {0: 120, 7: 15}
    assert parse_place("2026-11-20T06:30:00.5Z") == parse_place("2026-11-20T07:30:00.5+01:00") == 1_795_156_200_500_000
    assert parse_place("90s", now_us=100_000_000) == 10_000_000
    for wrong in ("", "yesterday", "1", "1:x", "0:1,0:2", "0:-1", "2026-11-20T06:30:00"):
        with pytest.raises(ValueError, match=r"."):
            parse_place(wrong)


def test_only_what_both_have_finished_counts() -> None:
    assert both_finished({0: 7, 1: 9, 2: 1}, {0: 8, 1: 3}) == {0: 7, 1: 3}


def test_ranges_are_compared_in_pieces_that_begin_and_end_where_both_do() -> None:
    ranges = [Range(0, 10, 9, 1, ()), Range(10, 30, 20, 1, ()), Range(30, 40, 1, 1, ())]
    assert windows(ranges, 5, 35) == [(5, 10), (10, 30), (30, 35)]
    assert windows(ranges, 12, 20) == [(12, 20)]
    assert windows(ranges, 20, 20) == windows(ranges, 20, 10) == []


def test_each_observation_of_a_record_is_a_row() -> None:
    assert origins_of([4, 7, 8], [2, 0, 1]).rows() == [(4, 0), (4, 1), (8, 0)]
    assert origins_of([], []).height == 0


def test_the_hash_of_rows_does_not_depend_on_their_order_or_pieces() -> None:
    assert hash_sum(ROWS) == hash_sum(ROWS.reverse()) == hash_sum(ROWS[:1]) + hash_sum(ROWS[1:])
    assert hash_sum(ROWS) != hash_sum(ROWS[:2])
    whole, pieces = RowHash(), RowHash()
    whole.add(ROWS, ("asset", "item"))
    for n in range(3):
        pieces.add(ROWS[n : n + 1], ("asset", "item"))
    assert (whole.hexdigest(), whole.series) == (pieces.hexdigest(), {"a/x", "b/y"})


def test_a_null_equals_a_null_and_nothing_else() -> None:
    assert compare_frames(ROWS, ROWS.clone(), "observations") == (0, None)
    other = ROWS.with_columns(v_num=pl.col("v_num").fill_null(0.0))
    count, first = compare_frames(ROWS, other, "observations")
    assert count == 1
    assert first is not None
    assert (first.series, first.offset, first.index) == ("a/x", 6, 0)
    assert "v_num" not in first.live
    assert first.rebuilt["v_num"] == 0.0


def test_values_beyond_a_bound_are_newer_and_others_must_be_the_same() -> None:
    live = {"assets.a": payload(1), "assets.b": payload(9), "assets.c": payload(2, 1), "state.a": payload(4)}
    rebuilt = {"assets.a": payload(1), "assets.b": payload(3), "assets.c": payload(2, 2), "state.a": payload(4)}
    found, newer, hashes = compare_values(live, rebuilt, {0: 8}, {0: 4})
    assert (found.count, newer) == (1, 2)
    assert found.first is not None
    assert found.first.series == "assets.c"
    assert hashes[0].rows == hashes[1].rows == 2


def test_nats_is_compared_with_the_newest_value_before_the_bound() -> None:
    model = definition()

    def frame(value: object) -> Frame:
        observations = [["_model", model.value(), 0, None, 0], ["power", value, 0, None, 0]]
        wire = {"v": 1, "asset": "press-01", "source": "m", "gateway": "g", "run": 1, "seq": 1, "received": 1}
        return msgspec.convert({**wire, "model": model.model, "observations": observations}, Frame)

    check = ServeCheck({0: 12}, {})
    check.take(Batch(0, 10, 13, [10, 11, 12], [frame(1), frame(2), frame(3)]))
    path = "assets.acme.hamburg.forming.line-1.press-01"
    good = {f"{path}.power": b'{"origin":[0,11,1]}', f"{path}._model": b'{"origin":[0,11,0]}'}
    assert list(check.compare(good)) == []
    stale = {**good, f"{path}.power": b'{"origin":[0,10,1]}'}
    assert [(d.subject, d.offset) for d in check.compare(stale)] == [(f"{path}.power", 11)]
    assert [d.subject for d in check.compare({**good, f"{path}.x": b'{"origin":[0,1,0]}'})] == [f"{path}.x"]
    assert list(check.compare({**good, f"{path}.x": b'{"origin":[0,12,0]}'})) == []
    assert check.newer == 1
