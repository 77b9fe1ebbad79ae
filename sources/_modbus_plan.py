"""What a Modbus address means, which registers are read together, and how their bytes become values; no network.

`TABLE:ADDRESS TYPE [ORDER]`, for instance `input:100 float32 cdab`: the table, the 0-based protocol address, how the
registers are to be understood, and in which order the device puts the bytes (most significant first: `abcd`).
"""

import math
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from assets.frame import Flag, Value
from assets.reading import Reading
from assets.status import BAD_ENCODING_ERROR

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


class Limits(NamedTuple):
    """How much one request may ask for, and how many unused addresses it may span to save another request."""

    registers: int = 125
    bits: int = 2000
    fill_gap: int = 12
    holes: tuple[Hole, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """What one request reads."""

    table: str
    start: int
    count: int
    addresses: tuple[Address, ...]
    decode: Callable[[bytes], list[Reading]]


def group(addresses: Iterable[Address], limits: Limits) -> list[Block]:
    """The fewest requests that respect the limits: neighbours are read together, never across a hole."""
    blocks: list[Block] = []
    run: list[Address] = []
    for address in sorted(addresses, key=lambda a: (FUNCTIONS[a.table], a.start, a.count)):
        if run and not _fits(run, address, limits):
            blocks.append(make_block(run))
            run = []
        run.append(address)
    return [*blocks, make_block(run)] if run else blocks


def _fits(run: Sequence[Address], address: Address, limits: Limits) -> bool:
    end = max(member.end for member in run)
    length = max(end, address.end) - run[0].start
    between = [hole for hole in limits.holes if hole.table == address.table]
    return (
        address.table == run[0].table
        and address.start - end <= limits.fill_gap
        and length <= (limits.bits if address.table in BIT_TABLES else limits.registers)
        and not any(hole.first < address.start and hole.last >= end for hole in between)
    )


def halves(block: Block) -> tuple[Block, Block]:
    """The same addresses in two requests: to find out which of them the device refuses."""
    middle = len(block.addresses) // 2
    return make_block(block.addresses[:middle]), make_block(block.addresses[middle:])


def make_block(addresses: Sequence[Address]) -> Block:
    """One request for all these addresses of one table, with its decoder."""
    start, end = min(a.start for a in addresses), max(a.end for a in addresses)
    decode = _bits(addresses, start) if addresses[0].table in BIT_TABLES else _registers(addresses, start)
    return Block(addresses[0].table, start, end - start, tuple(addresses), decode)


def _bits(addresses: Sequence[Address], start: int) -> Callable[[bytes], list[Reading]]:
    places = [(a.text, (a.start - start) >> 3, 1 << (a.start - start & 7)) for a in addresses]
    return lambda raw: [Reading(text, bool(raw[byte] & mask)) for text, byte, mask in places]


class _Layer(NamedTuple):
    """Addresses that do not overlap and share an order: one `Struct` takes them all out of a block."""

    swapped: bool
    unpack: Callable[[bytes], tuple[Any, ...]]
    finish: list[tuple[str, Callable[[Any], Reading] | None]]


def _registers(addresses: Sequence[Address], start: int) -> Callable[[bytes], list[Reading]]:
    layers = [_layer(members, start) for members in _without_overlap(addresses)]
    swap = any(layer.swapped for layer in layers)

    def decode(raw: bytes) -> list[Reading]:
        swapped = _swapped(raw) if swap else b""
        return [
            Reading(text, value) if finish is None else finish(value)
            for layer in layers
            for (text, finish), value in zip(layer.finish, layer.unpack(swapped if layer.swapped else raw), strict=True)
        ]

    return decode


def _swapped(raw: bytes) -> bytes:
    swapped = bytearray(len(raw))
    swapped[0::2], swapped[1::2] = raw[1::2], raw[0::2]
    return bytes(swapped)


def _without_overlap(addresses: Sequence[Address]) -> list[list[Address]]:
    layers: dict[tuple[str, int], list[Address]] = {}
    for address in sorted(addresses, key=lambda a: (a.start, a.count)):
        n = 0
        while (members := layers.setdefault((address.order, n), [])) and members[-1].end > address.start:
            n += 1
        members.append(address)
    return list(layers.values())


def _layer(addresses: Sequence[Address], start: int) -> _Layer:
    endian, swapped = ORDERS[addresses[0].order]
    form, at = endian, start
    for address in addresses:
        form += f"{2 * (address.start - at)}x" + _format(address)
        at = address.end
    unpack = struct.Struct(form).unpack_from
    return _Layer(swapped, unpack, [(a.text, _finish(a)) for a in addresses])


def _format(address: Address) -> str:
    if address.type == "string":
        return f"{2 * address.count}s"
    return "H" if address.type == "bit" else FORMATS[address.type]


def _finish(address: Address) -> Callable[[Any], Reading] | None:
    """What is left to do after unpacking; None: nothing."""
    text, size = address.text, address.size
    if address.type == "bit":
        return lambda register: Reading(text, bool(register >> size & 1))
    if address.type == "string":
        return lambda raw: _text(text, raw[:size])
    if address.type in {"float32", "float64"}:
        return lambda number: number_reading(text, number)
    return None


def number_reading(address: str, number: float) -> Reading:
    """A float; not a number and the infinities have no form on the stream: null with BadEncodingError."""
    if math.isfinite(number):
        return Reading(address, number)
    return Reading(address, None, BAD_ENCODING_ERROR)


def _text(address: str, raw: bytes) -> Reading:
    """Text up to the first NUL; bytes that are not UTF-8 are replaced and the reading says so."""
    raw = raw.split(b"\0", 1)[0]
    try:
        value: Value = raw.decode()
    except UnicodeDecodeError:
        return Reading(address, raw.decode(errors="replace"), 0, None, Flag.SUBSTITUTED)
    return Reading(address, value)
