"""What must be derived from a run of the demo plant, computed from its truth file alone.

A second opinion on the operators: it reads what the devices told and applies the documented algorithms in their
plainest form, sharing no code with the product.

How close reality must come to it:
* Items over OPC UA carry the device's time, so derived changes must agree to the microsecond.
* Items polled over Modbus carry the time of the poll: within one poll interval (plus the answer's time).
* Around a lost link the gateway's detection and reconnect decide, and while a device's clock is wrong the gateway's
  clock counts: `doubts` names these spans, and `differences` leaves them out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from deploy.demo import rules, truth
from deploy.demo.physics import SECOND_US
from deploy.demo.rules import Alarm, Rules

PLANT = Path(__file__).parent / "plant"
ACTIVE, CLEAR = "ACTIVE", "CLEAR"
AVAILABLE, UNAVAILABLE = "AVAILABLE", "UNAVAILABLE"
AVAILABILITY = "availability"
BAD = 0x8000_0000
LINK_FAULTS = frozenset({"restart", "no_reply", "dead_unit"})
SETTLE_US = 15 * SECOND_US
"""How long after a lost link's return the gateway may still be finding it."""
START_US = 3 * SECOND_US
"""How long after its start the gateway may take to hear of everything once."""
_ROUNDING = 1 - 1e-9
"""80.1 - 80.0 is a little less than 0.1, and yet a change of 0.1."""

Change = tuple[str, str, Any, int]
"""(asset, metric, value, at in us); the value is None where nobody knows it."""


class Told(NamedTuple):
    """An item's value as a gateway gets it; None when it is Bad or the link is lost."""

    value: Any
    at: int


class Doubt(NamedTuple):
    """A span in which an asset's derived changes depend on the gateway as well."""

    asset: str
    start: int
    end: int


def expected_changes(truth_lines: Iterable[str | truth.Line], since_us: int = 0, plant: Path = PLANT) -> list[Change]:
    """All changes of durations, alarms and availability, by (at, asset, metric); None is a state nobody knows.

    `since_us` is when the gateway began to listen: what was told before counts as told then.
    """
    lines = list(truth.parse(truth_lines))
    types = rules.load(plant)
    end_us = max(line["at"] for line in lines if "at" in line)
    changes = list(_availability(lines, since_us))
    for (asset, item), told in _told(lines, since_us).items():
        changes += _derive(asset, item, told, types[asset.rsplit("-", 1)[0]], end_us)
    return sorted(changes, key=lambda change: (change[3], change[0], change[1]))


def doubts(truth_lines: Iterable[str | truth.Line], since_us: int = 0) -> list[Doubt]:
    """The spans in which the gateway's view counts: its start (it listens from `since_us` on) and the faults."""
    lines = list(truth.parse(truth_lines))
    sources = _assets_by_source(lines)
    found = [Doubt(asset, 0, since_us + START_US) for asset in sorted(set().union(*sources.values())) if since_us]
    for line in _finished_faults(lines):
        if line["fault"] in LINK_FAULTS:
            found += [Doubt(asset, line["from"], line["to"] + SETTLE_US) for asset in sources[line["target"]]]
        elif line["fault"] == "clock_skew":
            found.append(Doubt(line["target"], line["from"] - SECOND_US, line["to"] + SETTLE_US))
    return found


def differences(
    expected: Iterable[Change], actual: Iterable[Change], tolerance_us: int = 0, leave_out: Iterable[Doubt] = ()
) -> list[str]:
    """One line per (asset, metric) whose changes differ in value, order or, beyond the tolerance, in time."""
    spans = list(leave_out)
    wanted, found = _series(expected, spans), _series(actual, spans)
    texts = (_difference(name, wanted.get(name, []), found.get(name, []), tolerance_us) for name in wanted | found)
    return sorted(text for text in texts if text)


def _series(changes: Iterable[Change], spans: list[Doubt]) -> dict[str, list[tuple[Any, int]]]:
    series = defaultdict(list)
    for asset, metric, value, at in changes:
        if not any(span.asset == asset and span.start <= at <= span.end for span in spans):
            series[f"{asset}.{metric}"].append((value, at))
    return series


def _difference(name: str, wanted: list[tuple[Any, int]], found: list[tuple[Any, int]], tolerance_us: int) -> str:
    for number, (want, have) in enumerate(zip(wanted, found, strict=False), 1):
        if want[0] != have[0] or abs(want[1] - have[1]) > tolerance_us:
            return f"{name}: change {number} must be {want[0]}@{want[1]}; it is {have[0]}@{have[1]}"
    if len(wanted) != len(found):
        return f"{name}: {len(wanted)} changes expected, {len(found)} found"
    return ""


def _derive(asset: str, item: str, told: list[Told], rules_of_type: Rules, end_us: int) -> Iterator[Change]:
    names = rules_of_type.names.get(item, {})
    for durations in (rule for rule in rules_of_type.durations if rule.item == item):
        for each in _durations(told):
            yield asset, durations.metric, names.get(str(each.value), each.value), each.at
    for alarm in (rule for rule in rules_of_type.alarms if rule.item == item):
        samples = _with_deadband(told, rules_of_type.deadbands.get(item, 0.0))
        for value, at in _alarm(samples, alarm, end_us):
            yield asset, alarm.metric, value, at


def _durations(told: list[Told]) -> Iterator[Told]:
    """A change of value, or of its being known, begins a new interval."""
    before: Any = object()
    for each in told:
        if each.value != before:
            yield each
        before = each.value


def _with_deadband(told: list[Told], deadband: float) -> Iterator[Told]:
    """Report by exception: a value closer than the deadband to the last reported one is no news."""
    last: float | None = None
    for each in told:
        if each.value is None or last is None or abs(each.value - last) >= deadband * _ROUNDING:
            yield each
            last = each.value


def _alarm(samples: Iterable[Told], alarm: Alarm, end_us: int) -> Iterator[tuple[str, int]]:
    """ISA-18.2 with delays: a pending change keeps its deadline while wanted, a Bad value freezes and cancels it.

    Until the first good value nothing is known; one that is not beyond the limit says CLEAR at once.
    """
    active: bool | None = None
    due: int | None = None
    for each in [*samples, Told(None, end_us)]:
        if due is not None and due <= each.at:
            active, changed_at, due = not active, due, None
            yield (ACTIVE if active else CLEAR), changed_at
        if each.value is None or (wanted := _wanted(alarm, bool(active), each.value)) is active:
            due = None
            continue
        delay_us = 0 if active is None and not wanted else alarm.on_delay_us if wanted else alarm.off_delay_us
        if delay_us == 0:
            active, due = wanted, None
            yield (ACTIVE if active else CLEAR), each.at
        elif due is None:
            due = each.at + delay_us


def _wanted(alarm: Alarm, active: bool, value: float) -> bool:
    return not value < alarm.clear_below if active else value > alarm.above


def _told(lines: list[truth.Line], since_us: int) -> dict[tuple[str, str], list[Told]]:
    """What a gateway gets to know of each item, with None for the times of a lost link."""
    told: dict[tuple[str, str], list[Told]] = defaultdict(list)
    by_source = defaultdict(set)
    for line in lines:
        if line["kind"] in {"served", "register"}:
            key = line["asset"], line["item"]
            by_source[line["source"]].add(key)
            told[key].append(Told(_good_value(line), _event_time(line)))
    for fault in _finished_faults(lines):
        for key in by_source[fault["target"]] if fault["fault"] in LINK_FAULTS else ():
            told[key] = _cut(told[key], fault["from"], fault["to"])
    return {key: _since(series, since_us) for key, series in told.items()}


def _good_value(line: truth.Line) -> Any:
    return None if line.get("status", 0) & BAD else line["value"]


def _event_time(line: truth.Line) -> int:
    """The device's time, or the true one where the device has none or a wrong one."""
    time = line.get("source_time")
    return line["at"] if time is None or abs(time - line["at"]) > 5 * SECOND_US else int(time)


def _cut(series: list[Told], start: int, end: int) -> list[Told]:
    """The link is lost for a while: unknown from its begin, at its end the value that then is true."""
    before = [each for each in series if each.at < start]
    true_again = [each for each in series if each.at <= end][-1].value
    after = [each for each in series if each.at > end]
    return [*before, Told(None, start), Told(true_again, end), *after]


def _since(series: list[Told], since_us: int) -> list[Told]:
    """What was told before anybody listened counts as told then."""
    before = [each for each in series if each.at <= since_us]
    return [*([Told(before[-1].value, since_us)] if before else []), *(each for each in series if each.at > since_us)]


def _availability(lines: list[truth.Line], since_us: int) -> Iterator[Change]:
    """Whether the asset's own source is there; a meter's loss does not make a press unavailable."""
    main = {asset: source for source, assets in _assets_by_source(lines).items() for asset in sorted(assets)}
    main |= {line["asset"]: line["source"] for line in lines if line["kind"] == "served"}
    start = max(since_us, lines[0]["at"])
    for asset in sorted(main):
        yield asset, AVAILABILITY, AVAILABLE, start
    for fault in _finished_faults(lines):
        for asset in (asset for asset in sorted(main) if main[asset] == fault["target"]):
            if fault["fault"] in LINK_FAULTS and fault["to"] > start:
                yield asset, AVAILABILITY, UNAVAILABLE, fault["from"]
                yield asset, AVAILABILITY, AVAILABLE, fault["to"]


def _assets_by_source(lines: list[truth.Line]) -> dict[str, set[str]]:
    assets: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line["kind"] in {"served", "register"}:
            assets[line["source"]].add(line["asset"])
    return assets


def _finished_faults(lines: list[truth.Line]) -> list[truth.Line]:
    return [line for line in lines if line["kind"] == "fault" and line["to"] is not None]
