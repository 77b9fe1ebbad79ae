"""Units: UCUM codes pass, what people write instead is answered with the code they meant."""

import pytest

from assets.units import check_unit

CODES = """
    Cel [degF] K % 1 s ms us min h d m mm um km m2 m3 m/s m/s2 m.s-2 /min 1/min {part} {part}/min {rpm} N kN N.m Pa kPa
    MPa bar mbar [psi] W kW MW kW.h J kV.A kV.A{reactive} A mA V kV Hz kHz Ohm mS/cm l/min m3/h kg g/l [ppm] dB [pH] deg
    mm[Hg] 10*3/uL (m/s)/s 100.mm rad/s lx cd [in_i] [ft_i]/min [HP] KiBy bit/s
"""


@pytest.mark.parametrize("code", CODES.split())
def test_a_ucum_code_passes(code: str) -> None:
    assert check_unit(code) == code


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("°C", "Cel"),
        ("celsius", "Cel"),
        ("degC", "Cel"),
        ("cel", "Cel"),
        ("KW", "kW"),
        ("kWh", "kW.h"),
        ("rpm", "/min"),
        ("m/s^2", "m/s2"),
        ("m³/h", "m3/h"),
        ("Nm", "N.m"),
        ("psi", "[psi]"),
        ("µm", "um"),
        ("Ω", "Ohm"),
        ("Kelvin", "K"),
    ],
)
def test_what_people_write_is_answered_with_the_code(written: str, meant: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a UCUM code; it is") as raised:
        check_unit(written)
    assert str(raised.value) == f'expected a UCUM code; it is "{written}"; did you mean "{meant}"?'


@pytest.mark.parametrize(
    "code", ["", "/", ".", "m//s", "m/", "(m", "m)", "{part", "part}", "kmin", "m 2", "xyz", "m{ü}"]
)
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a UCUM code"):
        check_unit(code)
