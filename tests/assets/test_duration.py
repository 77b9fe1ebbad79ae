"""Durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.duration import UNITS_US, format_duration, parse_duration_us


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("100ms", 100_000),
        ("5s", 5_000_000),
        ("1.5s", 1_500_000),
        ("2m", 120_000_000),
        ("2min", 120_000_000),
        ("1h", 3_600_000_000),
        ("7d", 604_800_000_000),
        ("250us", 250),
        (" 5 s ", 5_000_000),
        ("0s", 0),
    ],
)
def test_a_duration_is_microseconds(text: str, us: int) -> None:
    assert parse_duration_us(text) == us


@pytest.mark.parametrize("text", ["", "5", 5, 5.0, None, "s", "-5s", "5S", "5 sec", "1h30m", "nan s", True, "1e3s"])
def test_anything_else_is_refused_with_examples(text: object) -> None:
    with pytest.raises(ValueError, match=r"^expected a duration such as 100ms, 5s, 2m, 1h or 7d; it is "):
        parse_duration_us(text)


@given(st.integers(0, 10**15))
def test_what_is_written_is_read_again(us: int) -> None:
    assert parse_duration_us(format_duration(us)) == us


@given(st.integers(1, 1000), st.sampled_from(sorted(UNITS_US)))
def test_the_text_is_the_shortest_exact_one(number: int, unit: str) -> None:
    assert len(format_duration(number * UNITS_US[unit])) <= len(f"{number}{unit}")
