"""Durations as people write them (`100ms`, `5s`, `2m`, `1h`, `7d`), held as integer microseconds."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, ValidationInfo

UNITS_US: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|min|h|d)")


def parse_duration_us(text: object) -> int:
    """Microseconds of a duration; raises ValueError.

    >>> parse_duration_us("1.5s")
    1500000
    """
    if isinstance(text, str) and (match := _FORM.fullmatch(text.strip())):
        return round(float(match[1]) * UNITS_US[match[2]])
    raise ValueError(f"expected a duration such as 100ms, 5s, 2m, 1h or 7d; it is {text!r}")


def format_duration(duration_us: int) -> str:
    """The shortest exact way to write a duration.

    >>> format_duration(90_000_000)
    '90s'
    """
    for unit in ("d", "h", "m", "s", "ms"):
        if duration_us and duration_us % UNITS_US[unit] == 0:
            return f"{duration_us // UNITS_US[unit]}{unit}"
    return f"{duration_us}us"


FROM_STREAM: Final = "from the stream"
"""Validation context in which durations are integer microseconds already, as in every record."""


def _duration(value: object, info: ValidationInfo) -> int:
    if info.context == FROM_STREAM and type(value) is int:
        return value
    return parse_duration_us(value)


DurationUs = Annotated[int, BeforeValidator(_duration)]
"""A pydantic field: written with a unit in YAML, plain microseconds in a record (context `FROM_STREAM`)."""
