"""Units as UCUM codes (the Unified Code for Units of Measure, case sensitive): a grammar and the common atoms."""

import re
from typing import Final

from assets._problems import nearest


def _atoms(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_PREFIXES: Final = _atoms("Y Z E P T G M k h da d c m u n p f a z y Ki Mi Gi Ti")

_METRIC: Final = _atoms(
    "m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb Cel T H lm lx Bq Gy Sv kat l L ar t bar u eV pc",
    "St B Np bit By Bd P Ci R cal m[H2O] m[Hg] B[V] B[W] B[SPL] g% [iU] [IU] eq osm G Gal dyn erg gf",
)
"""Atoms that take a prefix."""

_PLAIN: Final = _atoms(
    "min h d wk mo a mo_j % [ppth] [ppm] [ppb] [pptr] deg ' '' gon circ 10* 10^ [pi] [pH] atm att [g] [c]",
    "[in_i] [ft_i] [yd_i] [mi_i] [nmi_i] [sin_i] [sft_i] [cin_i] [cft_i] [kn_i] [mil_i] [lb_av] [oz_av] [ston_av]",
    "[lbf_av] [psi] [in_i'H2O] [in_i'Hg] [degF] [degR] [gal_us] [gal_br] [foz_us] [bbl_us] [HP] [Btu] [Btu_IT] [car]",
)
"""Atoms that stand alone."""

_MEANT: Final = {
    "°C": "Cel",
    "degC": "Cel",
    "celsius": "Cel",
    "°F": "[degF]",
    "degF": "[degF]",
    "°": "deg",
    "rpm": "/min",
    "1/min": "/min",
    "sec": "s",
    "hr": "h",
    "hour": "h",
    "pcs": "{part}",
    "parts": "{part}",
    "percent": "%",
    "ppm": "[ppm]",
    "psi": "[psi]",
    "inch": "[in_i]",
    "in": "[in_i]",
    "ft": "[ft_i]",
    "hp": "[HP]",
    "kWh": "kW.h",
    "Wh": "W.h",
    "MWh": "MW.h",
    "Ah": "A.h",
    "Nm": "N.m",
    "kVA": "kV.A",
    "VA": "V.A",
    "var": "V.A{reactive}",
    "kvar": "kV.A{reactive}",
    "Ω": "Ohm",
    "ohm": "Ohm",
    "µm": "um",
    "μm": "um",
    "m³/h": "m3/h",
    "m²": "m2",
    "m³": "m3",
    "m/s²": "m/s2",
    "m/s^2": "m/s2",
}
"""What people write, and its code."""

_MEANT_BY_CASE: Final = {written.lower(): code for written, code in _MEANT.items()}

_BY_CASE: Final = {
    unit.lower(): unit
    for unit in _atoms("kW MW kPa MPa mbar kV mA kHz MHz kN kJ MJ kg mm km ms us ml bar Hz Pa Cel") | {"K"}
} | {"kelvin": "K", "newton": "N", "watt": "W", "volt": "V", "ampere": "A", "amp": "A", "meter": "m", "second": "s"}
"""Codes that are often written in the wrong case, by their small letters."""

_COMPONENT = re.compile(
    r"(?P<atom>(?:10[*^]|[A-Za-z%']+|\[[^\[\]{}]*\]|_)+?)(?P<power>[+-]?\d+)?(?P<note>\{[!-z|~]*\})?"
)
_NUMBER = re.compile(r"\d+(\{[!-z|~]*\})?|\{[!-z|~]*\}")


def check_unit(code: str) -> str:
    """The code itself, when UCUM has it; raises ValueError with what was probably meant.

    >>> check_unit("kW.h"), check_unit("m/s2"), check_unit("{part}/min")
    ('kW.h', 'm/s2', '{part}/min')
    """
    if _is_term(code):
        return code
    if (
        meant := _MEANT.get(code)
        or _MEANT_BY_CASE.get(code.lower())
        or _BY_CASE.get(code.lower())
        or nearest(code, sorted(_METRIC | _PLAIN))
    ):
        raise ValueError(f'expected a UCUM code; it is "{code}"; did you mean "{meant}"?')
    raise ValueError(f'expected a UCUM code such as Cel, kW.h, m/s2, /min or {{part}}; it is "{code}"')


def _is_term(code: str) -> bool:
    components = _split(code)
    return components is not None and all(map(_is_component, components))


def _split(code: str) -> list[str] | None:
    """The components between `.` and `/` outside of parentheses and annotations; None when these do not match."""
    components, depth, noted, start = [], 0, False, 0
    code = code.removeprefix("/")
    for i, sign in enumerate(code):
        noted = sign == "{" or (noted and sign != "}")
        depth += 0 if noted else (sign == "(") - (sign == ")")
        if depth < 0:
            return None
        if sign in "./" and not depth and not noted:
            components.append(code[start:i])
            start = i + 1
    return None if depth or noted else [*components, code[start:]]


def _is_component(text: str) -> bool:
    if text.startswith("(") and text.endswith(")"):
        return _is_term(text[1:-1])
    if _NUMBER.fullmatch(text):
        return True
    match = _COMPONENT.fullmatch(text)
    return match is not None and _is_unit(match["atom"])


def _is_unit(atom: str) -> bool:
    if atom in _METRIC or atom in _PLAIN:
        return True
    return any(atom[:n] in _PREFIXES and atom[n:] in _METRIC for n in (1, 2))
