"""How the bytes of a Modbus block become values: one `Struct` for many addresses, what that cannot do one by one."""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from assets.fields import Value
from assets.frame import Flag
from assets.reading import Reading
from assets.status import BAD_ENCODING_ERROR
from sources._modbus_address import BIT_TABLES, FORMATS, ORDERS, Address

Decode = Callable[[bytes], list[Reading]]


def decoder(addresses: Sequence[Address], start: int) -> Decode:
    """What makes readings of a block that begins at `start`; all addresses belong to one table."""
    return _bits(addresses, start) if addresses[0].table in BIT_TABLES else _registers(addresses, start)


def _bits(addresses: Sequence[Address], start: int) -> Decode:
    places = [(a.text, (a.start - start) >> 3, 1 << (a.start - start & 7)) for a in addresses]
    return lambda raw: [Reading(text, bool(raw[byte] & mask)) for text, byte, mask in places]


class _Layer(NamedTuple):
    """Addresses that do not overlap and share an order: one `Struct` takes them all out of a block."""

    swapped: bool
    unpack: Callable[[bytes], tuple[Any, ...]]
    finish: list[tuple[str, Callable[[Any], Reading] | None]]


def _registers(addresses: Sequence[Address], start: int) -> Decode:
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
