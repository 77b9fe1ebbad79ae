"""The derive rules of the demo's plant folder, read without the product's own loader.

The expected results must not come from the code under test, so this reads the YAML by itself, and only what it needs.
"""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deploy.demo.packml import State

_UNITS_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000}


class Alarm(NamedTuple):
    """Active above `above` for `on_delay_us`, clear below `clear_below` for `off_delay_us`."""

    metric: str
    item: str
    above: float
    clear_below: float
    on_delay_us: int
    off_delay_us: int


class Durations(NamedTuple):
    """The time in each value of an item."""

    metric: str
    item: str


class Rules(NamedTuple):
    """What one type of asset derives, and how its raw values become observations."""

    alarms: list[Alarm]
    durations: list[Durations]
    names: dict[str, dict[str, str]]
    deadbands: dict[str, float]


def load(plant: Path) -> dict[str, Rules]:
    """Type -> its rules."""
    types: dict[str, Any] = {}
    for path in sorted(plant.glob("*.yaml")):
        types |= (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("types", {})
    return {name: _rules(_merged(types, name)) for name in types}


def _merged(types: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    own = types[name]
    parent = _merged(types, own["extends"]) if "extends" in own else {"items": {}, "derive": {}}
    items = dict(parent["items"])
    for item, fields in own.get("items", {}).items():
        items[item] = {**items.get(item, {}), **fields}
    return {"items": items, "derive": {**parent["derive"], **own.get("derive", {})}}


def _rules(merged: dict[str, dict[str, Any]]) -> Rules:
    items, derive = merged["items"], merged["derive"]
    return Rules(
        [_alarm(metric, rule) for metric, rule in derive.items() if "alarm" in rule],
        [Durations(metric, rule["durations"]) for metric, rule in derive.items() if "durations" in rule],
        {item: _names(fields) for item, fields in items.items() if "states" in fields or "enum" in fields},
        {item: float(fields["deadband"]) for item, fields in items.items() if "deadband" in fields},
    )


def _alarm(metric: str, rule: dict[str, Any]) -> Alarm:
    above = float(rule["above"])
    delays = (duration_us(rule.get(key, "0s")) for key in ("on_delay", "off_delay"))
    return Alarm(metric, rule["alarm"], above, float(rule.get("clear_below", above)), *delays)


def _names(fields: dict[str, Any]) -> dict[str, str]:
    if fields.get("states") == "packml":
        return {str(state.value): state.name for state in State}
    return {str(raw): str(name) for raw, name in fields["enum"].items()}


def duration_us(text: str) -> int:
    """Microseconds of a duration such as 5s or 100ms.

    >>> duration_us("5s")
    5000000
    """
    number = text.rstrip("ms")
    return round(float(number) * _UNITS_US[text[len(number) :]])
