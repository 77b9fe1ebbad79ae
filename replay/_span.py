"""From where to where a rebuild reads: instants and offsets as people write them, and the offsets that they mean."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from time import time_ns

from assets.condition import Refused
from assets.duration import parse_duration_us
from assets.frame import ContractError, decode_event
from assets.stream import ASSET_STREAM, state_topic
from flows._site import Site, View
from replay._generations import Offsets, Ranges
from sources.kafka import offsets_at, read_range, watermarks

Place = int | Mapping[int, int]
"""An instant (us, the clock of Kafka) or offsets of `asset-stream` by partition, where one left out has no limit."""
FORMS = "an instant with its zone (2026-11-20T06:30:00Z), a time ago (2h), or offsets by partition (0:1200,5:340)"

PROBED = 8
"""Records looked at for an event: one that is none (somebody else wrote it) says nothing of its place."""


def parse_place(text: str, now_us: int | None = None) -> Place:
    """A place in the stream as the command line has it; raises ValueError.

    >>> parse_place("0:120,7:15"), parse_place("2026-11-20T06:30:00+01:00"), parse_place("now")
    ({0: 120, 7: 15}, 1795152600000000, {})
    """
    if text == "now":
        return {}
    try:
        return _offsets(text)
    except ValueError:
        pass
    try:
        return (time_ns() // 1_000 if now_us is None else now_us) - parse_duration_us(text)
    except ValueError:
        pass
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f'"{text}" does not say its zone')
    return round((instant - datetime.fromtimestamp(0, UTC)).total_seconds() * 1_000_000)


def _offsets(text: str) -> Offsets:
    pairs = [pair.partition(":") for pair in text.split(",")]
    offsets = {int(partition): int(offset) for partition, _, offset in pairs}
    if len(offsets) < len(pairs) or min(*offsets, *offsets.values()) < 0:
        raise ValueError("a partition is named twice, or a number is negative")
    return offsets


def choose_inputs(site: Site, view: View, derived: int | None, start: Place, to: Place) -> dict[str, Ranges]:
    """Per topic and partition the offsets to read; `derived`: the generation of derived state to read, too.

    The end of derived state is asked first, so all it holds was derived from records before the end of the stream.
    `serve` reads all of it: the newest value of a metric may be as old as the stream. `archive` reads what the records
    between `start` and `to` have caused.
    """
    inputs = {}
    if derived is not None:
        inputs[state_topic(derived)] = watermarks(site.kafka, state_topic(derived))
    whole = watermarks(site.kafka, ASSET_STREAM)
    inputs[ASSET_STREAM] = stream = _between(whole, _begin(site, whole, start), _end(site, whole, to))
    if start != {} and not any(end > first for first, end in stream.values()):
        raise Refused(f'could not rebuild: topic "{ASSET_STREAM}" has no record there; choose an earlier --from')
    if derived is not None and view == "archive" and stream != whole:
        topic = state_topic(derived)
        first = caused_from(site, topic, inputs[topic], {p: first for p, (first, _) in stream.items()})
        end = caused_from(site, topic, inputs[topic], {p: end for p, (_, end) in stream.items()})
        inputs[topic] = {p: (first[p], end[p]) for p in first}
    return inputs


def begins_late(site: Site, ranges: Ranges) -> bool:
    """Whether records of `asset-stream` precede some ranges of it."""
    return any(ranges[p][0] > low for p, (low, _) in watermarks(site.kafka, ASSET_STREAM).items())


def _begin(site: Site, whole: Ranges, place: Place) -> Offsets:
    return {p: low for p, (low, _) in whole.items()} | _resolve(site, whole, place, "from")


def _end(site: Site, whole: Ranges, place: Place) -> Offsets:
    return {p: high for p, (_, high) in whole.items()} | _resolve(site, whole, place, "up to")


def _resolve(site: Site, whole: Ranges, place: Place, word: str) -> Offsets:
    if isinstance(place, int):
        found = offsets_at(site.kafka, ASSET_STREAM, place)
        return {p: min(found[p], high) for p, (_, high) in whole.items()}  # records may have come since
    for partition, offset in place.items():
        low, high = whole.get(partition, (0, -1))
        if not low <= offset <= high:
            has = f"it has offsets {low} to {high}" if high >= 0 else f"there are partitions 0 to {max(whole)}"
            where = f'offset {offset} of topic "{ASSET_STREAM}" partition {partition}'
            raise Refused(f"could not rebuild {word} {where}: {has}")
    return dict(place)


def _between(whole: Ranges, first: Offsets, end: Offsets) -> Ranges:
    for p in whole:
        if first[p] > end[p]:
            raise Refused(
                f'could not rebuild topic "{ASSET_STREAM}" partition {p} from offset {first[p]} up to offset {end[p]}: '
                "it would end before it begins; choose an earlier --from or a later --to"
            )
    return {p: (first[p], end[p]) for p in whole}


def caused_from(site: Site, topic: str, ranges: Ranges, bounds: Offsets) -> Offsets:
    """Per partition the offset of the first derived event that a record at or after its bound has caused.

    Events stand in the order of their basis, so the range is halved until it is empty; all partitions at once.
    """
    found = dict(ranges)
    while open_ := {p: ((low + high) // 2, high) for p, (low, high) in found.items() if low < high}:
        known = _bases(site, topic, {p: (middle, min(middle + PROBED, high)) for p, (middle, high) in open_.items()})
        for p, (middle, high) in open_.items():
            offset, basis = known.get(p, (middle, bounds[p]))
            found[p] = (found[p][0], middle) if basis >= bounds[p] else (offset + 1, high)
    return {p: low for p, (low, _) in found.items()}


def _bases(site: Site, topic: str, ranges: Ranges) -> Ranges:
    """Per partition the first record of a range that is an event, and the offset of the record that has caused it."""
    found: Ranges = {}
    for batch in read_range(site.kafka, topic, ranges):
        for offset, value in zip(batch.offsets, batch.values, strict=True):
            with suppress(ContractError):
                if batch.partition not in found:
                    found[batch.partition] = offset, decode_event(value or b"").basis[1]
    return found
