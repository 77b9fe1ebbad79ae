"""Comparison of generations as plain Python: nothing that was removed, changed, added or moved goes unseen."""

from typing import Any

import msgspec
import pytest

from replay._compare import Difference, Findings, Row, SeriesHash, combined, compare_rows

ROWS = [
    Row((3, basis, index), f"press-{n}/running", msgspec.json.encode({"value": basis * 100 + index * 10 + n}))
    for basis, index in ((1, 0), (1, 1), (4, 0), (9, 2))
    for n in (1, 2)
]


def hashed(rows: list[Row]) -> str:
    sums = SeriesHash()
    for row in rows:
        sums.add(row.series, row.record)
    return sums.hexdigest()


def test_equal_rows_have_no_differences_and_one_hash() -> None:
    assert list(compare_rows(ROWS, list(ROWS))) == []
    assert hashed(ROWS) == hashed(list(ROWS))


@pytest.mark.parametrize("at", range(len(ROWS)))
def test_a_removed_row_is_named(at: int) -> None:
    rest = ROWS[:at] + ROWS[at + 1 :]
    row = ROWS[at]
    value = msgspec.json.decode(row.record)
    assert list(compare_rows(ROWS, rest)) == [Difference(row.series, *row.basis, value, None)]
    assert list(compare_rows(rest, ROWS)) == [Difference(row.series, *row.basis, None, value)]
    assert hashed(rest) != hashed(ROWS)


@pytest.mark.parametrize("at", range(len(ROWS)))
def test_a_changed_row_is_named_with_both_values(at: int) -> None:
    row = ROWS[at]
    changed = [*ROWS[:at], row._replace(record=b'{"value":0}'), *ROWS[at + 1 :]]
    value = msgspec.json.decode(row.record)
    assert list(compare_rows(ROWS, changed)) == [Difference(row.series, *row.basis, value, {"value": 0})]
    assert hashed(changed) != hashed(ROWS)


@pytest.mark.parametrize("at", range(len(ROWS) + 1))
def test_a_row_that_stands_twice_is_seen(at: int) -> None:
    twice = [*ROWS[:at], ROWS[2], *ROWS[at:]]
    assert len(list(compare_rows(ROWS, twice))) >= 1
    assert hashed(twice) != hashed(ROWS)


def test_rows_of_one_series_in_another_order_differ() -> None:
    moved = [ROWS[2], ROWS[1], ROWS[0], *ROWS[3:]]
    assert len(list(compare_rows(ROWS, moved))) >= 1
    assert hashed(moved) != hashed(ROWS)


def test_the_order_between_series_promises_nothing() -> None:
    moved = [ROWS[1], ROWS[0], ROWS[3], ROWS[2], *ROWS[4:]]
    assert list(compare_rows(ROWS, moved)) == []
    assert hashed(moved) == hashed(ROWS)


def test_the_first_difference_is_the_one_with_the_lowest_origin() -> None:
    found = Findings()
    for offset in (7, 3, 5):
        found.add(Difference("a", 0, offset, 0, None, None), count=2)
    assert found.count == 6
    assert found.first is not None
    assert found.first.offset == 3


def test_a_record_that_is_no_json_is_shown_as_it_is() -> None:
    other: list[Any] = [ROWS[0]._replace(record=b"\xffx")]
    assert next(iter(compare_rows(ROWS[:1], other))).rebuilt == "\ufffdx"


def test_a_series_without_rows_is_another_hash_than_none() -> None:
    assert combined({}) != combined({"a": b""})
