import pytest

from sources._modbus_address import parse_address


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
def test_a_refused_address_says_which_part_and_what_is_allowed(text: str, error: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_address(text)
    assert str(refused.value) == error
