import struct

import pytest

from assets.frame import Flag
from assets.reading import Reading
from assets.status import BAD_ENCODING_ERROR
from sources._modbus_plan import Hole, Limits, group, halves, make_block, parse_address


def read(registers: str, *addresses: str) -> dict[str, Reading]:
    [block] = group(map(parse_address, addresses), Limits())
    return {reading.address: reading for reading in block.decode(bytes.fromhex(registers))}


@pytest.mark.parametrize(
    ("order", "registers"), [("abcd", "42F6E979"), ("cdab", "E97942F6"), ("badc", "F64279E9"), ("dcba", "79E9F642")]
)
def test_a_float_is_read_in_every_order(order, registers):
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
def test_a_type_is_read_from_known_registers(kind, registers, value):
    assert read(registers, f"holding:7 {kind}")[f"holding:7 {kind}"] == Reading(f"holding:7 {kind}", value)


@pytest.mark.parametrize("bit", range(16))
def test_bit_0_of_a_register_is_the_least_significant(bit):
    readings = read(f"{1 << bit:04X}", *(f"input:3 bit[{n}]" for n in range(16)))
    assert [n for n in range(16) if readings[f"input:3 bit[{n}]"].value] == [bit]


@pytest.mark.parametrize("registers", ["7FC00000", "7F800000", "FF800000"])
def test_a_float_that_is_no_number_is_null_and_bad(registers):
    reading = read(registers, "input:0 float32")["input:0 float32"]
    assert (reading.value, reading.status) == (None, BAD_ENCODING_ERROR)


def test_text_that_is_not_utf8_is_replaced_and_says_so():
    reading = read("41FF4200", "holding:0 string[4]")["holding:0 string[4]"]
    assert (reading.value, reading.flags) == ("A�B", Flag.SUBSTITUTED)


def test_addresses_that_overlap_are_read_once_and_decoded_each_in_its_way():
    readings = read("42F6E979", "holding:0 float32", "holding:0 uint16", "holding:1 bit[0]", "holding:0 uint32 cdab")
    assert readings["holding:0 uint16"].value == 0x42F6
    assert readings["holding:1 bit[0]"].value is True
    assert readings["holding:0 uint32 cdab"].value == 0xE97942F6


def test_registers_between_two_addresses_are_skipped():
    registers = struct.pack(">10H", *range(10)).hex()
    readings = read(registers, "input:100 uint16", "input:104 uint32 cdab", "input:109 int16")
    assert [readings[a].value for a in ("input:100 uint16", "input:104 uint32 cdab", "input:109 int16")] == [
        0,
        0x00050004,
        9,
    ]


def test_bits_are_taken_least_significant_first():
    block = make_block([parse_address("coil:10 bool"), parse_address("coil:19 bool")])
    assert (block.start, block.count) == (10, 10)
    assert [r.value for r in block.decode(b"\x01\x02")] == [True, True]
    assert [r.value for r in block.decode(b"\xfe\xfd")] == [False, False]


def spans(addresses: list[str], limits: Limits) -> list[tuple[str, int, int]]:
    return [(block.table, block.start, block.count) for block in group(map(parse_address, addresses), limits)]


def test_neighbours_are_read_together_up_to_the_gap():
    addresses = ["holding:0 uint16", "holding:13 uint16", "holding:27 uint16"]
    assert spans(addresses, Limits()) == [("holding", 0, 14), ("holding", 27, 1)]
    assert spans(addresses, Limits(fill_gap=0)) == [("holding", 0, 1), ("holding", 13, 1), ("holding", 27, 1)]


def test_a_request_is_never_longer_than_the_device_allows():
    addresses = [f"input:{n} uint32" for n in range(0, 300, 2)]
    assert [count for *_, count in spans(addresses, Limits())] == [124, 124, 52]
    assert max(count for *_, count in spans(addresses, Limits(registers=10))) == 10


def test_a_hole_is_never_asked_for():
    addresses = ["holding:38 uint16", "holding:50 uint16"]
    assert spans(addresses, Limits(holes=(Hole("holding", 40, 49),))) == [("holding", 38, 1), ("holding", 50, 1)]
    assert spans(addresses, Limits(holes=(Hole("input", 40, 49),))) == [("holding", 38, 13)]


def test_tables_are_never_mixed():
    addresses = ["coil:0 bool", "discrete:0 bool", "holding:0 uint16", "input:0 uint16"]
    assert [table for table, *_ in spans(addresses, Limits())] == ["coil", "discrete", "holding", "input"]


def test_a_block_is_halved_by_addresses():
    block = make_block([parse_address(f"holding:{n} uint16") for n in (1, 2, 9)])
    assert [(half.start, half.count) for half in halves(block)] == [(1, 1), (2, 8)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "holding 0 uint16",
            'expected TABLE:ADDRESS TYPE [ORDER], such as "holding:0 uint16"; it is "holding 0 uint16"',
        ),
        ("register:0 uint16", 'the table must be one of coil, discrete, holding, input; it is "register"'),
        ("holding:65536 uint16", 'the address must be a number from 0 to 65535; it is "65536"'),
        ("holding:0x10 uint16", 'the address must be a number from 0 to 65535; it is "0x10"'),
        ("holding:65535 uint32", '"uint32" at 65535 would end behind the last address, 65535'),
        (
            "holding:0 float",
            (
                "the type of a register must be one of uint16, int16, uint32, int32, uint64, int64, float32, float64, "
                'string[N], bit[N]; it is "float"'
            ),
        ),
        ("holding:0 bit[16]", "the bit of a register must be from 0 (least significant) to 15; it is 16"),
        ("holding:0 string[0]", "the length of a string must be from 1 to 250 bytes; it is 0"),
        ("coil:0 uint16", 'the type of a coil or discrete input must be one of bool; it is "uint16"'),
        ("holding:0 uint32 acbd", 'the order must be one of abcd, dcba, badc, cdab; it is "acbd"'),
        ("holding:0 string[4] cdab", 'the order of a string must be one of abcd, badc; it is "cdab"'),
    ],
)
def test_a_refused_address_says_which_part_and_what_is_allowed(text, error):
    with pytest.raises(ValueError) as refused:
        parse_address(text)
    assert str(refused.value) == error
