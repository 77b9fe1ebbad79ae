"""Statuses: names, severities and constants agree with the published table of OPC UA."""

import pytest
from asyncua.ua.status_codes import StatusCodes

from assets import status

CONSTANTS = {
    name: value
    for name, value in vars(status).items()
    if name.startswith(("GOOD", "UNCERTAIN", "BAD")) and isinstance(value, int)
}


@pytest.mark.parametrize(("code", "name"), status.NAMES.items())
def test_the_table_is_the_standards(code: int, name: str) -> None:
    assert getattr(StatusCodes, name) == code


@pytest.mark.parametrize("constant", CONSTANTS)
def test_a_constant_bears_the_name_of_its_code(constant: str) -> None:
    assert status.NAMES[CONSTANTS[constant]].upper() == constant.replace("_", "")


@pytest.mark.parametrize("code", [*status.NAMES, 0x80FF0000, 0x40FF0000, 0x00FF0000])
@pytest.mark.parametrize("information", [0, status.OVERFLOW, 0xFFFF])
def test_severity_is_in_the_upper_two_bits_alone(code: int, information: int) -> None:
    expected = ["good", "uncertain", "bad", "bad"][code >> 30]
    assert status.severity(code | information) == expected
    assert status.is_bad(code | information) is (expected == "bad")
    assert status.is_good(code | information) is (expected == "good")


def test_information_is_not_part_of_a_name() -> None:
    assert status.name(status.BAD_SENSOR_FAILURE | status.OVERFLOW) == "BadSensorFailure"
    assert status.name(status.GOOD) == "Good"
    assert status.same_code(status.GOOD, status.OVERFLOW)
    assert not status.same_code(status.GOOD, status.BAD)


def test_an_unknown_status_is_shown_as_it_is() -> None:
    assert status.name(0x80FF0480) == "0x80FF0000"
