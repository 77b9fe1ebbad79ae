"""What a Modbus address means: its table, its registers, its type and its byte order; no network.

`TABLE:ADDRESS TYPE [ORDER]`, for instance `input:100 float32 cdab`: the table, the 0-based protocol address, how the
registers are to be understood, and in which order the device puts the bytes (most significant first: `abcd`).
"""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

FUNCTIONS: Final = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
"""The function code that reads each table (Modbus Application Protocol 1.1b3, section 6)."""
BIT_TABLES: Final = ("coil", "discrete")
FORMATS: Final = {
    "uint16": "H",
    "int16": "h",
    "uint32": "I",
    "int32": "i",
    "uint64": "Q",
    "int64": "q",
    "float32": "f",
    "float64": "d",
}
ORDERS: Final = {"abcd": (">", False), "dcba": ("<", False), "badc": (">", True), "cdab": ("<", True)}
"""Byte order of the unpacking, and whether the two bytes of every register are swapped before it."""

_FORM: Final = re.compile(r"(?P<table>[^:\s]+):(?P<start>\S+)\s+(?P<type>\S+)(?:\s+(?P<order>\S+))?")
_HOLE: Final = re.compile(r"(?P<table>\w+):(?P<first>\d+)(?:-(?P<last>\d+))?")
_SIZED: Final = re.compile(r"(string|bit)\[(\d+)\]")
LAST_ADDRESS: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Address:
    """A checked address: `count` registers (or one bit) of `table` from `start` on."""

    text: str
    table: str
    start: int
    count: int
    type: str
    order: str = "abcd"
    size: int = 0
    """Of a string: its bytes; of a bit: its number, 0 = least significant."""

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.start + self.count


def parse_address(text: str) -> Address:
    """Read `TABLE:ADDRESS TYPE [ORDER]`; a refusal quotes the part and says what is allowed.

    >>> parse_address("input:100 float32 cdab").count
    2
    """
    match = _FORM.fullmatch(text.strip())
    if not match:
        raise ValueError(f'expected TABLE:ADDRESS TYPE [ORDER], such as "holding:0 uint16"; it is "{text}"')
    table, order = _one_of("table", match["table"], FUNCTIONS), _one_of("order", match["order"] or "abcd", ORDERS)
    if not match["start"].isdecimal() or int(match["start"]) > LAST_ADDRESS:
        raise ValueError(f'the address must be a number from 0 to {LAST_ADDRESS}; it is "{match["start"]}"')
    start, (kind, count, size) = int(match["start"]), _type(match["type"], table in BIT_TABLES)
    if start + count > LAST_ADDRESS + 1:
        raise ValueError(f'"{match["type"]}" at {start} would end behind the last address, {LAST_ADDRESS}')
    if kind == "string" and order not in {"abcd", "badc"}:
        raise ValueError(f'the order of a string must be one of abcd, badc; it is "{order}"')
    return Address(text, table, start, count, kind, order, size)


def _one_of(part: str, text: str, allowed: Iterable[str]) -> str:
    if text not in allowed:
        raise ValueError(f'the {part} must be one of {", ".join(allowed)}; it is "{text}"')
    return text


def _type(text: str, bits: bool) -> tuple[str, int, int]:
    """Type, registers, size."""
    if bits:
        return _one_of("type of a coil or discrete input", text, ("bool",)), 1, 0
    if sized := _SIZED.fullmatch(text):
        kind, size = sized[1], int(sized[2])
        if kind == "bit" and size > 15:
            raise ValueError(f"the bit of a register must be from 0 (least significant) to 15; it is {size}")
        if kind == "string" and not 1 <= size <= 250:
            raise ValueError(f"the length of a string must be from 1 to 250 bytes; it is {size}")
        return kind, 1 if kind == "bit" else (size + 1) // 2, size
    if text not in FORMATS:
        allowed = ", ".join((*FORMATS, "string[N]", "bit[N]"))
        raise ValueError(f'the type of a register must be one of {allowed}; it is "{text}"')
    return text, struct.calcsize(FORMATS[text]) // 2, 0


class Hole(NamedTuple):
    """Addresses of a table that must never be asked for: `first` to `last`, both included."""

    table: str
    first: int
    last: int


def parse_hole(text: str) -> Hole:
    """Read `TABLE:FIRST-LAST` or `TABLE:ADDRESS`.

    >>> parse_hole("holding:40-49")
    Hole(table='holding', first=40, last=49)
    """
    match = _HOLE.fullmatch(text.strip())
    if not match or int(match["last"] or match["first"]) < int(match["first"]):
        raise ValueError(f'expected TABLE:FIRST-LAST, such as "holding:40-49"; it is "{text}"')
    return Hole(_one_of("table", match["table"], FUNCTIONS), int(match["first"]), int(match["last"] or match["first"]))
