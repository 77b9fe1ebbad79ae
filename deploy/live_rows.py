"""The lines of the live table that tell of assets: a heading per place and type, then one line per asset."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from assets.states import Kind
from deploy.live_model import Asset
from deploy.live_words import LOOK, SYMBOLS, age, kind_of, quality, shown, span
from operators.live_values import ObservationPayload

SECOND_US: Final = 1_000_000
ALARM_LOOK: Final = ("▲", "bold #ff5f87")
UNCERTAIN: Final = "#e69f00"
BAD: Final = "#ff5f87"
OFFLINE_WORD: Final = "UNAVAILABLE"

NAME, STATE, SINCE, VALUE, AGE = 13, 15, 7, 14, 5
"""Widths of the columns."""
FIXED: Final = NAME + STATE + SINCE

_RANKS: Final = {
    kind: rank
    for rank, kind in enumerate(
        (Kind.OFFLINE, Kind.DOWN, Kind.UNKNOWN, Kind.HELD, Kind.SETUP, Kind.READY, Kind.PRODUCING)
    )
}


def kind_of_asset(asset: Asset) -> Kind:
    """What an asset is doing, for people."""
    if not asset.available:
        return Kind.OFFLINE
    state = asset.state
    return Kind.UNKNOWN if state is None or state.value is None else kind_of(state.value, asset.vocabulary)


def badness(asset: Asset) -> tuple[int, str]:
    """A key that sorts the assets that need someone first: alarms, then by what they do."""
    return (-1 if asset.alarms else _RANKS[kind_of_asset(asset)]), asset.name


def places(assets: Iterable[Asset]) -> list[list[Asset]]:
    """Assets that share a heading: the same place and type, in the order of their names."""
    ordered = sorted(assets, key=lambda asset: (asset.path, asset.definition.type, asset.name))
    return [list(group) for _, group in groupby(ordered, key=lambda asset: (asset.path, asset.definition.type))]


def lines(assets: list[Asset], width: int, now: int) -> Iterator[Text]:
    """The heading of a place, then its assets; `now` in us."""
    columns = assets[0].items[: max(0, (width - FIXED) // (VALUE + 1))]
    yield _heading(assets[0], columns)
    for asset in assets:
        yield _asset(asset, columns, now)


def _heading(asset: Asset, columns: list[str]) -> Text:
    line = Text(_fit(asset.path or "(no definition yet)", FIXED - 1) + " ", style="bold")
    for name in columns:
        item = asset.definition.items.get(name)
        unit = SYMBOLS.get(item.unit, item.unit) if item and item.unit else ""
        room = VALUE - AGE - 1
        text = f"{name} {unit}".rstrip()
        if cell_len(text) > VALUE:
            text = f"{_fit(name, VALUE - cell_len(unit) - 1).rstrip()} {unit}"
        line.append(f"{text:>{room}}".ljust(VALUE) + " ", style="not bold dim")
    return line


def _asset(asset: Asset, columns: list[str], now: int) -> Text:
    kind = kind_of_asset(asset)
    icon, colour = LOOK[kind]
    offline = kind is Kind.OFFLINE
    line = Text(style="dim" if offline else "")
    mark, alarm_colour = ALARM_LOOK if asset.alarms else (" ", "")
    line.append(mark, style=alarm_colour)
    line.append(_fit(asset.name, NAME - 2) + " ")
    line.append(_fit(f"{icon} {_word(asset)}", STATE - 1) + " ", style=colour)
    since = asset.since
    line.append(f"{'' if since is None else span((now - since) / SECOND_US):>{SINCE - 1}} ")
    alarmed = {alarm.item for alarm in asset.alarms}
    for name in columns:
        line.append_text(_value(asset.values.get(name), _stale_after(asset, name), name in alarmed, offline, now))
    return line


def _word(asset: Asset) -> str:
    if not asset.available:
        return OFFLINE_WORD
    state = asset.state
    if state is None:
        return "no state yet"
    return "not known" if state.value is None else str(state.value)


def _value(o: ObservationPayload | None, stale_after: int | None, alarmed: bool, offline: bool, now: int) -> Text:
    """A value and its age; what is not good bears its mark, what is too old the word."""
    if o is None:
        return Text(f"{'–':>{VALUE - AGE - 1}}".ljust(VALUE + 1), style="dim")
    mark, name = quality(o.status)
    old = now - o.time
    stale = stale_after is not None and old > stale_after
    if mark == "✕":
        return Text(_fit(f"✕ {name}", VALUE) + " ", style="" if offline else BAD)
    text = f"{mark} {shown(o.value, None)}".strip()
    colour = UNCERTAIN if mark else "dim" if stale or offline else ALARM_LOOK[1] if alarmed else ""
    cell = Text(f"{_fit_right(text, VALUE - AGE - 1)} ", style=colour)
    told = f"{'stale' if stale else age(old / SECOND_US):>{AGE}} "
    return cell.append(told, style=UNCERTAIN if stale and not offline else "not bold dim")


def _stale_after(asset: Asset, name: str) -> int | None:
    item = asset.definition.items.get(name)
    return None if item is None else item.stale_after


def _fit(text: str, width: int) -> str:
    """Exactly so wide, with an ellipsis where something had to go."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"


def _fit_right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text if cell_len(text) <= width else _fit(text, width)


def counts(assets: Mapping[str, Asset]) -> Text:
    """How many assets are in each kind of state, with icon and word."""
    kinds = [kind_of_asset(asset) for asset in assets.values()]
    text = Text()
    for kind in reversed(_RANKS):
        if count := kinds.count(kind):
            icon, colour = LOOK[kind]
            text.append(f"{icon} {count} {kind.value}   ", style=colour)
    if alarms := sum(len(asset.alarms) for asset in assets.values()):
        icon, colour = ALARM_LOOK
        text.append(f"{icon} {alarms} {'alarm' if alarms == 1 else 'alarms'}", style=colour)
    return text
