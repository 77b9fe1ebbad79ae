"""Rebuilds that begin in the middle: `serve` ends with the same last values, `archive` with the rows of the range."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from assets.batch import DerivedBatch, RawBatch
from assets.condition import Refused
from assets.definition import Definition
from assets.frame import DerivedEvent, Flag, Frame, Tick
from assets.newest import Newest
from assets.status import BAD_NOT_SUPPORTED
from assets.stream import ASSET_STREAM, state_topic
from operators._assets import Assets
from operators.decode import FrameDecoder, decode_events
from operators.live_values import LiveValues
from operators.rules import Rules
from replay.__main__ import main
from replay._generations import Generations
from replay._parquet import Table
from replay._verify_serve import lasting
from replay.rebuild import rebuild
from replay.verify import verify
from sinks.kafka import put_table
from sources.kafka import read_range, watermarks
from tests.replay.live_plant import Plant
from tests.replay.plant_stream import PARTITIONS, START, Run, S, records
from tests.streams import batch, definition, frame, tick

KEYFRAME: Final = int(Flag.KEYFRAME)
INTERVAL_S: Final = 20
Stream = dict[int, list[Frame | Tick]]


def what_ingest_writes() -> Stream:
    """Two runs of a gateway with a key frame every twenty seconds, by partition."""
    raw: dict[int, list[tuple[bytes | None, bytes | None]]] = {}
    for run in (Run(START, 60), Run(START + 100 * S, 70)):
        for record in (record for some in records(run, INTERVAL_S * S) for record in some):
            raw.setdefault(record.partition, []).append((record.key, record.value))
    decode = FrameDecoder(PARTITIONS)
    return {p: decode(_raw(p, pairs))[0].records for p, pairs in raw.items()}


def _raw(p: int, pairs: list[tuple[bytes | None, bytes | None]]) -> RawBatch:
    return RawBatch(
        ASSET_STREAM, p, 0, len(pairs), list(range(len(pairs))), [k for k, _ in pairs], [v for _, v in pairs]
    )


RULES: Final[dict[str, dict[str, Any]]] = {
    "running": {"rule": "durations", "item": "state"},
    "overheat": {"rule": "alarm", "item": "temperature", "above": 90.0},
    "availability": {"rule": "availability"},
}
LINES: Final = {
    line: msgspec.structs.replace(definition(**RULES), path=f"acme/hamburg/forming/line-{line}") for line in (1, 2)
}


def told(at: int, asset: str, *observations: tuple[Any, ...], line: int = 1) -> Frame:
    model = LINES[line]
    made = frame(at, *((i, model.value() if i == "_model" else v, *rest) for i, v, *rest in observations), asset=asset)
    made.model = model.model
    return made


def of_a_changing_plant() -> Iterator[Frame | Tick]:
    """Assets that move, are removed and come back, with a key frame every twenty seconds."""
    for at in range(200):
        for n, asset in enumerate(("press-01", "press-02", "press-03", "press-04")):
            age = at - 5 * n
            line, phase = 1 + age // 45 % 2, age % 60
            state, hot = ("state", ("Idle", "Execute")[at // 4 % 2]), ("temperature", 80.0 + at % 15)
            if age < 0 or (n % 2 and phase > 50):
                continue
            if n % 2 and phase == 50:
                yield told(at, asset, ("_removed", True), line=line)
            elif age == 0 or age % 45 == 0 or (n % 2 and phase == 0):
                yield told(at, asset, ("_model", None), ("_availability", "AVAILABLE"), line=line)
            elif age % INTERVAL_S == n:
                key = [(*each, 0, None, KEYFRAME) for each in (("_availability", "AVAILABLE"), state, hot)]
                yield told(at, asset, ("_model", None, 0, None, KEYFRAME), *key, line=line)
            elif at % 3 == 0 and n != 3:
                yield told(at, asset, state, hot, line=line)
            elif at % 50 == 7:
                yield told(at, asset, ("_gap", {"items": ["state"], "from": 0, "to": 1, "reason": "x", "lost": None}))
        yield tick(at, "s")


def fold(p: int, stream: list[Frame | Tick], events: list[DerivedEvent], begin: int, size: int) -> dict[str, bytes]:
    """The last values by records from `begin` on and all derived events, in batches of some size."""
    logic, newest = LiveValues(), Newest()
    derived = [events[at : at + size] for at in range(0, len(events), size)]
    for at in range(begin, len(stream), size):
        if derived:
            newest.take(logic.derived(of(p, derived.pop(0))))
        newest.take(logic.batch(batch(stream[at : at + size], at, p)))
    for some in derived:
        newest.take(logic.derived(of(p, some)))
    return {subject: value.payload for subject, value in newest.values.items()}


def of(p: int, events: list[DerivedEvent]) -> DerivedBatch:
    return DerivedBatch(p, 0, 0, [], events)


def last_key_frames(stream: list[Frame | Tick]) -> int:
    """Where the last complete round of key frames begins: each asset that is there writes one later, per source."""
    latest: dict[tuple[str, str], int] = {}
    for offset, record in enumerate(stream):
        if isinstance(record, Frame):
            if any(o.item == "_removed" for o in record.observations):
                latest = {key: at for key, at in latest.items() if key[0] != record.asset}
            elif any(o.item == "_model" for o in record.observations):
                latest[record.asset, record.source] = offset
    return min(latest.values())


def check_from(p: int, stream: list[Frame | Tick], begins: range) -> int:
    """Fold from each of these offsets; how many values no key frame can repeat, and which were missing for that."""
    events = Assets(p, "rules", Rules).batch(batch(stream, 0, p))
    whole = fold(p, stream, events, 0, 1000)
    older = 0
    for begin in begins:
        for size in (1000, 7):
            later = fold(p, stream, events, begin, size)
            expected = lasting(whole, later, {p: begin})
            assert later == expected, (begin, size, sorted(later.items() ^ dict(expected).items())[:2])
            older = max(older, len(whole) - len(expected))
    return older


def test_serve_from_anywhere_before_the_last_key_frames_has_the_last_values_of_the_whole() -> None:
    checked = 0
    for p, stream in what_ingest_writes().items():
        if any(isinstance(record, Frame) for record in stream):
            begins = range(1, last_key_frames(stream) + 1, 11)
            assert check_from(p, stream, begins) <= sum(isinstance(record, Frame) for record in stream[:1000])
            checked += len(begins)
    assert checked > 60


def test_what_was_removed_or_has_moved_before_is_neither_missing_nor_there_again() -> None:
    stream = list(of_a_changing_plant())
    begins = range(1, last_key_frames(stream) + 1, 3)
    assert len(begins) > 100
    assert check_from(0, stream, begins) > 0


def test_beginning_after_the_last_key_frame_of_an_asset_is_seen() -> None:
    stream = list(of_a_changing_plant())
    events = Assets(0, "rules", Rules).batch(batch(stream))
    whole, begin = fold(0, stream, events, 0, 1000), last_key_frames(stream) + 1
    later = fold(0, stream, events, begin, 1000)
    assert lasting(whole, later, {0: begin}).keys() > later.keys()


def of_an_edited_plant(after: Definition) -> list[Frame | Tick]:
    """An asset whose definition changes at second 50, with a key frame every ten seconds."""
    stream: list[Frame | Tick] = []
    for at in range(100):
        model = LINES[1] if at < 50 else after
        values = [("state", ("Idle", "Execute")[at // 4 % 2]), ("temperature", 80.0 + at % 15)]
        known = [(item, value) for item, value in values if item in model.items]
        key = at % 10 == 0
        begins = [("_model", model.value()), ("_availability", "AVAILABLE")] if key else []
        flags = KEYFRAME if key and at not in {0, 50} else 0
        made = frame(at, *((item, value, 0, None, flags) for item, value in (*begins, *known)), run=1 + (at >= 50))
        made.model = model.model
        stream += [made, tick(at, "s", run=made.run)]
    return stream


def test_serve_from_after_a_rule_was_removed_has_no_last_word_of_it() -> None:
    left = {metric: rule for metric, rule in RULES.items() if metric != "overheat"}
    stream = of_an_edited_plant(msgspec.structs.replace(LINES[1], derive=left))
    events = Assets(0, "rules", Rules).batch(batch(stream))
    assert [event.status for event in events if event.metric == "overheat"][-1] == BAD_NOT_SUPPORTED
    begins = range(1, last_key_frames(stream) + 1)
    assert len(begins) > 150
    assert check_from(0, stream, begins) == 0
    for begin in (0, 99, 101, 150):
        assert not [subject for subject in fold(0, stream, events, begin, 7) if subject.endswith("overheat")]


def test_serve_from_after_all_items_were_removed_has_none_of_their_values() -> None:
    bare = msgspec.structs.replace(LINES[1], items={}, derive={"availability": RULES["availability"]})
    stream = of_an_edited_plant(bare)
    gap = frame(51, ("_gap", {"items": ["state"], "from": 0, "to": 1, "reason": "x", "lost": None}), run=2)
    old = frame(52, ("ghost", 1), run=2)
    gap.model = old.model = bare.model
    stream[104:104] = [gap, old]
    assert check_from(0, stream, range(1, last_key_frames(stream) + 1)) > 0


def first_of_second_run(plant: Plant) -> dict[int, int]:
    """Per partition the offset where the second run begins."""
    ends = watermarks(plant.site.kafka, ASSET_STREAM)
    decode = FrameDecoder(PARTITIONS)
    found = {p: high for p, (_, high) in ends.items()}
    for raw in read_range(plant.site.kafka, ASSET_STREAM, ends):
        made = decode(raw)[0]
        for offset, record in zip(made.offsets, made.records, strict=True):
            if record.run > START:
                found[raw.partition] = min(found[raw.partition], offset)
    return found


def derived_events(plant: Plant) -> dict[int, list[DerivedEvent]]:
    found: dict[int, list[DerivedEvent]] = {}
    for raw in read_range(plant.site.kafka, state_topic(1), watermarks(plant.site.kafka, state_topic(1))):
        found.setdefault(raw.partition, []).extend(decode_events(raw)[0].events)
    return found


def test_serve_rebuilt_from_a_later_instant_equals_the_live_one(plant: Plant) -> None:
    made = rebuild(plant.site, "serve", start=plant.written_at[1])
    verdict = verify(plant.site, "serve")
    begins = first_of_second_run(plant)
    assert {p: first for p, (first, _) in made.inputs[ASSET_STREAM].items()} == begins
    assert {first for first, _ in made.inputs[state_topic(1)].values()} == {0}
    assert (made.partial, verdict.differences, verdict.first) == (False, 0, None)
    assert verdict.compared + verdict.older == verdict.rows
    assert verdict.compared > 50
    assert verdict.since == {ASSET_STREAM: begins}


def test_archive_rebuilt_from_the_middle_has_exactly_the_rows_of_the_range(plant: Plant) -> None:
    highs = {p: high for p, (_, high) in watermarks(plant.site.kafka, ASSET_STREAM).items()}
    begins, ends = ({p: high * part // 10 for p, high in highs.items()} for part in (1, 5))
    made = rebuild(plant.site, "archive", start=begins, to=ends)
    verdict = verify(plant.site, "archive")
    assert (made.partial, verdict.differences) == (True, 0)
    tables = {name: Table(plant.site.archive_folder(2), name) for name in ("observations", "derived")}
    caused = {
        p: [e.basis[1] for e in some if begins[p] <= e.basis[1] < ends[p]] for p, some in derived_events(plant).items()
    }
    for p, first in begins.items():
        rows = tables["derived"].read(p, 0, 1 << 40)
        assert rows.get_column("basis_offset").to_list() == caused.get(p, [])
        if tables["observations"].ranges.get(p):
            assert tables["observations"].extent(p) == (first, ends[p])
    assert sum(map(len, caused.values())) > 20
    assert sum(table.rows for table in tables.values()) >= verdict.compared > 200
    assert verdict.older + verdict.compared <= verdict.rows
    assert verdict.since["observations"].items() <= begins.items()


def test_derive_from_the_middle_is_partial_and_neither_verified_nor_live(plant: Plant) -> None:
    assert rebuild(plant.site, "derive", start=first_of_second_run(plant)).partial
    told = 'could not use generation 2 of view "derive"'
    with pytest.raises(Refused, match=f"{told}: it is partial, .* python -m replay rebuild derive --generation 2"):
        verify(plant.site, "derive")
    put_table(plant.site.kafka, "views", b"derive", b'{"generation":2}')
    try:
        with pytest.raises(Refused, match=f"{told} as the live one: it is partial"):
            plant.site.generation("derive")
        assert Generations(plant.site, "derive").live == 2
    finally:
        put_table(plant.site.kafka, "views", b"derive", None)
    assert not rebuild(plant.site, "derive", start=dict.fromkeys(range(12), 0)).partial
    assert verify(plant.site, "derive").differences == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            "--from 3:9999",
            'could not rebuild from offset 9999 of topic "asset-stream" partition 3: it has offsets 0 to',
        ),
        ("--from 77:0", 'could not rebuild from offset 0 of topic "asset-stream" partition 77: there are partitions 0'),
        (
            "--from 3:20 --to 3:10",
            'could not rebuild topic "asset-stream" partition 3 from offset 20 up to offset 10: it',
        ),
        (
            "--from 2999-01-01T00:00:00Z",
            'could not rebuild: topic "asset-stream" has no record there; choose an earlier',
        ),
    ],
)
def test_a_place_that_is_not_there_is_refused(
    plant: Plant, arguments: str, told: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in plant.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["rebuild", "archive", *arguments.split()]) == 2
    assert capfd.readouterr().err.startswith(told)
