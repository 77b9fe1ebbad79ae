import struct

import pytest

from assets.fields import Value
from assets.frame import Flag
from assets.reading import Reading
from assets.status import BAD_ENCODING_ERROR
from sources._modbus_address import parse_address
from sources._modbus_plan import Limits, group, make_block


def read(registers: str, *addresses: str) -> dict[str, Reading]:
    [block] = group(map(parse_address, addresses), Limits())
    return {reading.address: reading for reading in block.decode(bytes.fromhex(registers))}


@pytest.mark.parametrize(
    ("order", "registers"), [("abcd", "42F6E979"), ("cdab", "E97942F6"), ("badc", "F64279E9"), ("dcba", "79E9F642")]
)
def test_a_float_is_read_in_every_order(order: str, registers: str) -> None:
    """0x42F6E979 is 123.456 (IEEE 754)."""
    assert read(registers, f"holding:0 float32 {order}")[f"holding:0 float32 {order}"].value == pytest.approx(123.456)


@pytest.mark.parametrize(
    ("kind", "registers", "value"),
    [
        ("uint16", "FFFE", 65534),
        ("int16", "FFFE", -2),
        ("uint32", "FFFFFFFE", 4294967294),
        ("int32", "FFFFFFFE", -2),
        ("uint64", "FFFFFFFFFFFFFFFE", 18446744073709551614),
        ("int64", "FFFFFFFFFFFFFFFE", -2),
        ("float64", "405EDD2F1A9FBE77", 123.456),
        ("uint64 dcba", "0100000000000000", 1),
        ("uint64 cdab", "0001000000000000", 1),
        ("uint64 badc", "0000000000000100", 1),
        ("uint16 badc", "0100", 1),
        ("uint16 cdab", "0001", 1),
        ("string[6]", "50726573733100", "Press1"),
        ("string[5]", "50726573733100", "Press"),
        ("string[6] badc", "727073653173", "press1"),
    ],
)
def test_a_type_is_read_from_known_registers(kind: str, registers: str, value: Value) -> None:
    assert read(registers, f"holding:7 {kind}")[f"holding:7 {kind}"] == Reading(f"holding:7 {kind}", value)


@pytest.mark.parametrize("bit", range(16))
def test_bit_0_of_a_register_is_the_least_significant(bit: int) -> None:
    readings = read(f"{1 << bit:04X}", *(f"input:3 bit[{n}]" for n in range(16)))
    assert [n for n in range(16) if readings[f"input:3 bit[{n}]"].value] == [bit]


@pytest.mark.parametrize("registers", ["7FC00000", "7F800000", "FF800000"])
def test_a_float_that_is_no_number_is_null_and_bad(registers: str) -> None:
    reading = read(registers, "input:0 float32")["input:0 float32"]
    assert (reading.value, reading.status) == (None, BAD_ENCODING_ERROR)


def test_text_that_is_not_utf8_is_replaced_and_says_so() -> None:
    reading = read("41FF4200", "holding:0 string[4]")["holding:0 string[4]"]
    assert (reading.value, reading.flags) == ("A�B", Flag.SUBSTITUTED)


def test_addresses_that_overlap_are_read_once_and_decoded_each_in_its_way() -> None:
    readings = read("42F6E979", "holding:0 float32", "holding:0 uint16", "holding:1 bit[0]", "holding:0 uint32 cdab")
    assert readings["holding:0 uint16"].value == 0x42F6
    assert readings["holding:1 bit[0]"].value is True
    assert readings["holding:0 uint32 cdab"].value == 0xE97942F6


def test_registers_between_two_addresses_are_skipped() -> None:
    registers = struct.pack(">10H", *range(10)).hex()
    readings = read(registers, "input:100 uint16", "input:104 uint32 cdab", "input:109 int16")
    assert [readings[a].value for a in ("input:100 uint16", "input:104 uint32 cdab", "input:109 int16")] == [
        0,
        0x00050004,
        9,
    ]


def test_bits_are_taken_least_significant_first() -> None:
    block = make_block([parse_address("coil:10 bool"), parse_address("coil:19 bool")])
    assert (block.start, block.count) == (10, 10)
    assert [r.value for r in block.decode(b"\x01\x02")] == [True, True]
    assert [r.value for r in block.decode(b"\xfe\xfd")] == [False, False]
