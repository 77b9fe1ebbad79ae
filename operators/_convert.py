"""What a raw value of a device means for an item: type, missing sentinel, scale, names of states, range.

A value never lies: Bad means null; what a vocabulary does not know, and numbers that are none, become null with a Bad
status; a number out of its range stays, as Uncertain. What the item cannot hold at all is refused.
"""

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from assets import status as codes
from assets.definition import Item
from assets.fields import Value
from assets.frame import Flag
from assets.states import VOCABULARIES

MAX_FRAME_BYTES: Final = 256 * 1024
"""A frame above this is split."""
MAX_VALUE_BYTES: Final = MAX_FRAME_BYTES - 1024
"""A value above this fits no frame: the rest is room for the envelope."""
_SURELY_SMALL: Final = MAX_VALUE_BYTES // 6  # JSON writes a character in six bytes at most
_SUBSTITUTED: Final = int(Flag.SUBSTITUTED)

Converted = tuple[Value, int, int]
"""Value, status, and flags to add."""
Convert = Callable[[Value, int], Converted]


class Refused(Exception):
    """An item cannot hold a reading; `reason` is one of a closed set."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def converter(item: Item) -> Convert:
    """How readings of an item become values of the stream; the result raises `Refused`."""
    meaning = _meaning(item)
    missing = frozenset(item.missing)

    def convert(value: Value, status: int) -> Converted:
        if status >= codes.BAD:
            return None, status, 0
        if missing and not isinstance(value, list | dict) and value in missing:
            return None, codes.BAD_NO_DATA, 0
        return meaning(value, status)

    return convert


def _meaning(item: Item) -> Convert:
    if item.states is not None:
        vocabulary = VOCABULARIES[item.states]
        return _named(dict(vocabulary.numbers) | {name: name for name in vocabulary.names})
    if item.enum is not None:
        return _named(_enum_table(item.enum))
    return _sample(item) if item.category == "SAMPLE" else _event(item)


def _sample(item: Item) -> Convert:
    """Numbers; a bit counts as 0 or 1, and no value at all is Bad."""
    number = _number(item)

    def convert(value: Value, status: int) -> Converted:
        if isinstance(value, int | float):
            return number(value, status)
        if value is None:
            return None, codes.BAD_NO_DATA, 0
        raise Refused("wrong_type", f"expected a number; it is {_kind(value)}")

    return convert


def _event(item: Item) -> Convert:
    """Anything: numbers as those of a sample, all else as it came, if JSON can hold it."""
    number = _number(item)

    def convert(value: Value, status: int) -> Converted:
        if value is None or isinstance(value, bool):
            return value, status, 0
        if isinstance(value, int | float):
            return number(value, status)
        if isinstance(value, str) and value.isascii() and len(value) < _SURELY_SMALL:
            return value, status, 0
        raw: Any = value
        plain = _plain(raw)
        _check_size(plain)
        return plain, status, 0 if plain == raw or isinstance(raw, bytes) else _SUBSTITUTED

    return convert


def _number(item: Item) -> Callable[[float, int], Converted]:
    scaled = _scaling(item.scale, item.offset)
    low, high = item.range or (-math.inf, math.inf)

    def convert(value: float, status: int) -> Converted:
        if isinstance(value, bool):
            value = int(value)
        try:
            if scaled is not None:
                value = scaled(value)
            finite = math.isfinite(value)
        except OverflowError:  # an integer beyond all floats
            finite = False
        if not finite:
            return None, codes.BAD_NO_DATA if value != value else codes.BAD_OUT_OF_RANGE, 0  # noqa: PLR0124 - NaN
        if not low <= value <= high and status < codes.UNCERTAIN:
            status = codes.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED
        return value, status, 0

    return convert


def _scaling(scale: float, offset: float) -> Callable[[float], float] | None:
    """None leaves numbers as they are: integers stay integers.

    A scale such as 0.1 divides by 10: the result is the float nearest to the decimal, 813 becomes 81.3.
    """
    if scale == 1 and offset == 0:
        return None
    inverse = round(1 / scale) if scale and abs(scale) < 1 else 0
    if inverse and 1 / inverse == scale:
        return lambda value: value / inverse + offset
    return lambda value: value * scale + offset


def _named(names: Mapping[Any, str]) -> Convert:
    """Names of states; a name the table does not have is no value."""

    def convert(value: Value, status: int) -> Converted:
        if isinstance(value, bool):
            value = "true" if value else "false"
        if value is None:
            return None, codes.BAD_NO_DATA, 0
        if not isinstance(value, int | float | str):
            raise Refused("wrong_type", f"expected a number or a name; it is {_kind(value)}")
        name = names.get(value)
        return (None, codes.BAD_OUT_OF_RANGE, 0) if name is None else (name, status, 0)

    return convert


def _enum_table(enum: Mapping[str, str]) -> dict[int | float | str, str]:
    """Keys are raw values as text; devices send numbers, bits, text, or the names themselves."""
    table: dict[int | float | str, str] = {}
    for text, name in enum.items():
        table[text] = name
        try:
            table[float(text)] = name  # equal numbers have equal hashes: 6 finds 6.0
        except ValueError:
            table.setdefault(text.lower(), name)
    for word, number in (("false", 0), ("true", 1)):
        if number in table:
            table.setdefault(word, table[number])
        elif word in table:
            table[number] = table[word]
    for name in enum.values():
        table.setdefault(name, name)
    return table


def _plain(value: Any) -> Value:
    """The same as JSON can hold it; raises `Refused`."""
    try:
        return _plain_part(value)
    except RecursionError:
        raise Refused("wrong_type", "the value is nested too deeply") from None


def _plain_part(value: Any) -> Value:
    if isinstance(value, str):
        return value if value.isascii() else _text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain_part(part) for part in value]
    if isinstance(value, dict):
        return {_text(str(key)): _plain_part(part) for key, part in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise Refused("wrong_type", f"the stream cannot hold {_kind(value)}")


def _text(text: str) -> str:
    """Text without lone surrogates, which have no UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _check_size(value: Value) -> None:
    try:
        size = len(msgspec.json.encode(value))
    except (ValueError, OverflowError, RecursionError) as error:  # an integer of thousands of digits, for instance
        raise Refused("wrong_type", f"the stream cannot hold the value: {error}") from None
    if size > MAX_VALUE_BYTES:
        raise Refused("too_large", f"the value has {size} bytes; at most {MAX_VALUE_BYTES} fit a frame")


def _kind(value: object) -> str:
    names: dict[object, str] = {str: "a text", list: "a list", dict: "an object", bytes: "bytes"}
    return names.get(type(value), type(value).__name__)
