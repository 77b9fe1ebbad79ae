"""How the live table says things: icons, colours and words of states, and numbers that fit into narrow columns.

Colours are those of Okabe and Ito, which people tell apart however they see; each also has an icon and its word.
"""

from typing import Final

from assets.fields import Value
from assets.states import VOCABULARIES, Kind
from assets.status import is_bad, is_good, name

LOOK: Final[dict[Kind, tuple[str, str]]] = {
    Kind.PRODUCING: ("▶", "#00b383"),
    Kind.READY: ("○", "#56b4e9"),
    Kind.HELD: ("‖", "#e69f00"),
    Kind.SETUP: ("◆", "#cc79a7"),
    Kind.DOWN: ("■", "#ff6a1f"),
    Kind.OFFLINE: ("✕", "grey50"),
    Kind.UNKNOWN: ("?", "grey62"),
}
"""Icon and colour of each kind of state."""

WORDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("running", "heat", "heating", "ramp", "soak", "producing", "active", "on"), Kind.PRODUCING),
    **dict.fromkeys(("idle", "ready", "empty", "waiting", "off"), Kind.READY),
    **dict.fromkeys(("held", "hold", "paused", "blocked", "starved"), Kind.HELD),
    **dict.fromkeys(
        ("setup", "charge", "load", "loading", "discharge", "unload", "unloading", "cool", "starting"), Kind.SETUP
    ),
    **dict.fromkeys(("stopped", "jammed", "fault", "failed", "error", "down", "stopping"), Kind.DOWN),
    **dict.fromkeys(("unavailable", "offline"), Kind.OFFLINE),
}
"""What states mean that are in no standard vocabulary, by their word in small letters."""

SYMBOLS: Final = {"Cel": "°C", "[degF]": "°F", "deg": "°", "kW.h": "kWh", "Ohm": "Ω", "um": "µm", "/min": "1/min"}
"""How people write units whose UCUM code looks otherwise."""

_SPANS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))


def kind_of(word: Value, vocabulary: str | None) -> Kind:
    """What a state means: by its own vocabulary, else by its word."""
    if vocabulary is not None and vocabulary in VOCABULARIES:
        return VOCABULARIES[vocabulary].kind(word)
    return WORDS.get(str(word).lower(), Kind.UNKNOWN)


def span(seconds: float) -> str:
    """A duration in at most two units.

    >>> [span(s) for s in (0.4, 59, 61, 3_599, 7_260, 200_000)]
    ['0s', '59s', '1m01s', '59m59s', '2h01m', '2d07h']
    """
    whole = max(0, int(seconds))
    for large, name_large, small, name_small in _SPANS:
        if whole >= large:
            return f"{whole // large}{name_large}{whole % large // small:02}{name_small}"
    return f"{whole}s"


def age(seconds: float) -> str:
    """How old a value is, in one unit.

    >>> [age(s) for s in (0.4, 59, 61, 7_260, 200_000)]
    ['0s', '59s', '1m', '2h', '2d']
    """
    whole = max(0, int(seconds))
    return next((f"{whole // large}{unit}" for large, unit, _, _ in _SPANS if whole >= large), f"{whole}s")


def number(value: float) -> str:
    """A number with four significant digits and no exponent; whole numbers whole.

    >>> [number(v) for v in (81.2537, 0.01, 1032.7, 42, 1234567, -0.0)]
    ['81.25', '0.01', '1033', '42', '1 234 567', '0']
    """
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " " if abs(value) >= 10_000 else "")
    digits = 2 if abs(value) < 100 else 1
    return f"{value + 0.0:.{digits}f}".rstrip("0").rstrip(".")


def shown(value: Value, unit: str | None) -> str:
    """A value with its unit, as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = number(value) if isinstance(value, int | float) else "null" if value is None else str(value)
    return f"{text} {SYMBOLS.get(unit, unit)}" if unit else text


def quality(status: int) -> tuple[str, str]:
    """Mark and name of a quality; a good one has neither.

    >>> quality(0x808C0000), quality(0x40940000), quality(0)
    (('✕', 'SensorFailure'), ('~', 'EngineeringUnitsExceeded'), ('', ''))
    """
    if is_good(status):
        return "", ""
    if is_bad(status):
        return "✕", name(status).removeprefix("Bad")
    return "~", name(status).removeprefix("Uncertain")
