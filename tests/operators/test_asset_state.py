"""`asset_state`: the same records give the same events, wherever the stream is cut; timers fire by stream time."""

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.frame import Flag, Frame, Observation, Tick, encode_event
from operators._assets import Assets
from operators._definitions import Definitions
from operators._snapshot import SnapshotError
from operators.asset_logic import AssetLogic, Change, Changes
from operators.rules import KINDS, Rules
from tests.streams import S, batch, cut, definition, frame, run, said, tick

Records = list[Frame | Tick]

EVERYTHING = definition(
    overheat={"rule": "alarm", "item": "temperature", "above": 90.0, "clear_below": 80.0, "on_delay": 3 * S},
    running={"rule": "durations", "item": "state"},
    availability={"rule": "availability"},
)


class Overheat(AssetLogic):
    """The example of the design: a plain class, no engine."""

    hot: bool = False

    def on_observation(self, o: Observation) -> Iterator[Change]:
        if o.item == "temperature" and isinstance(o.value, float) and (o.value > 90) != self.hot:
            self.hot = not self.hot
            yield Change("overheat", self.hot)


class Watchdog(AssetLogic):
    """Says so when no sample came for five seconds."""

    def on_observation(self, o: Observation) -> Changes:
        self.due = o.time + 5 * S
        return None

    def on_time(self, now: int) -> Iterator[Change]:
        yield Change("quiet", True)


def test_an_engineers_class_is_fed_and_its_changes_become_events() -> None:
    event = run(Overheat, [frame(1, ("state", "Idle"), ("temperature", 95.0))])[0]
    assert (event.asset, event.metric, event.value, event.time) == ("press-01", "overheat", True, 1 * S)
    assert (event.basis, event.id, event.operator) == ((0, 0, 1), "0:0:1:overheat:0", "test")


def test_a_timer_fires_before_the_event_that_is_later() -> None:
    assert said(run(Watchdog, [frame(1, ("power", 1)), frame(10, ("power", 2))]), "quiet") == [(True, 6)]


def test_a_timer_that_was_moved_fires_once() -> None:
    frames = [frame(1, ("_availability", "AVAILABLE")), *(frame(n, ("power", n)) for n in (1, 2, 3))]
    records: list[Frame | Tick] = [*frames, tick(60, "s")]
    assert said(run(Watchdog, records), "quiet") == [(True, 8)]


def test_timers_due_together_fire_by_deadline_then_asset() -> None:
    assets = ["b", "a", "c"]
    up: Records = [frame(0, ("_availability", "AVAILABLE"), asset=asset) for asset in assets]
    samples = [frame(1 if asset == "c" else 2, ("power", 1), asset=asset) for asset in assets]
    events = run(Watchdog, [*up, *samples, tick(60, "s")])
    assert [event.asset for event in events] == ["c", "a", "b"]
    assert [event.id for event in events] == ["0:6:0:quiet:0", "0:6:0:quiet:1", "0:6:0:quiet:2"]


def test_repeated_values_move_no_time() -> None:
    repeated = frame(60, ("power", 1, 0, 60, int(Flag.KEYFRAME)))
    assert run(Watchdog, [frame(1, ("power", 1)), repeated]) == []


RUNNING: list[Frame] = [
    frame(0, ("_model", EVERYTHING.value()), ("_availability", "AVAILABLE")),
    frame(1, ("state", "Execute"), ("temperature", 95.0)),
]


def test_a_removed_asset_ends_all_its_metrics_and_its_timers() -> None:
    events = run(Rules, [*RUNNING, frame(2, ("_removed", True)), tick(60, "s")])
    assert said(events, "running") == [("Execute", 1), (None, 2)]
    assert said(events, "availability") == [("AVAILABLE", 0), ("REMOVED", 2)]
    assert said(events, "overheat") == []
    assert events[-1].basis[1] == 2


def test_a_timer_that_was_due_before_the_removal_still_fires() -> None:
    events = run(Rules, [*RUNNING, frame(9, ("_removed", True))])
    assert said(events, "overheat") == [("ACTIVE", 4), (None, 9)]


def test_nothing_is_left_of_a_removed_asset() -> None:
    empty, assets = Assets(0, "rules", Rules), Assets(0, "rules", Rules)
    for each in (assets, empty):
        each.batch(batch([tick(0, "s", "m")]))
    for n in range(20):
        begin = [frame(1, *((o.item, o.value) for o in told.observations), asset=f"a-{n}") for told in RUNNING]
        assets.batch(batch([*begin, frame(2, ("_removed", True), asset=f"a-{n}")], 1 + 3 * n))
    last = {"s": {"mark": S}}  # what was said at second 1 is a proof of life
    sources = {
        name: msgspec.structs.replace(link, ttl=10 * S, seen=0, **last.get(name, {}))
        for name, link in empty._links.sources.items()
    }
    assert (assets._cells, assets._definitions) == ({}, Definitions())
    assert assets._links.sources == sources


def test_an_asset_that_was_removed_begins_afresh() -> None:
    removed: Records = [*RUNNING, frame(2, ("_removed", True), ("state", "Held")), frame(3, ("_removed", True))]
    again: Records = [frame(20, ("_model", EVERYTHING.value())), frame(21, ("state", "Execute")), tick(22, "s")]
    events = run(Rules, [*removed, frame(4, ("state", "Held")), *again])
    assert said(events, "running") == [("Execute", 1), (None, 2), ("Execute", 21)]
    assert events[-1].previous is None


def test_a_snapshot_of_another_version_is_refused() -> None:
    saved = Assets(0, "overheat", Overheat).save().replace(b"\xa7version\x03", b"\xa7version\x09")
    with pytest.raises(SnapshotError, match='snapshot of step "overheat" has version 9, this program reads 3'):
        Assets(0, "overheat", Overheat).load(saved)


def test_a_snapshot_of_another_logic_is_refused() -> None:
    assets = Assets(0, "overheat", Overheat)
    assets.batch(batch([frame(1, ("temperature", 95.0))]))
    broken = assets.save().replace(b"\xa3hot\xc3", b"\xa3hot\x07")
    with pytest.raises(SnapshotError, match="delete the recovery store of this flow"):
        Assets(0, "overheat", Overheat).load(broken)


def test_integers_beyond_64_bits_survive_a_restart() -> None:
    huge = definition(running={"rule": "durations", "item": "state"}, odd={"rule": "durations", "item": 1 << 70})
    records: Records = [
        frame(0, ("_model", huge.value())),
        frame(1, ("state", 1 << 64)),
        frame(2, ("state", -(10**30))),
        frame(3, ("state", 5)),
    ]
    whole = [encode_event(event) for event in run(Rules, records)]
    assert len(whole) == 4
    assert [encode_event(event) for event in cut(Rules, records, [1, 2, 3])] == whole


def test_a_definition_that_does_not_name_all_its_sources_survives_a_restart() -> None:
    poor = msgspec.structs.replace(definition(running={"rule": "durations", "item": "state"}), sources={})
    records: Records = [frame(0, ("_model", poor.value())), frame(1, ("state", "Idle")), frame(2, ("state", "Held"))]
    assert cut(Rules, records, [1, 2]) == run(Rules, records)


@st.composite
def streams(draw: st.DrawFn) -> Records:
    """Random streams of two assets, two gateways: values, qualities, links, definitions, late and repeated values."""
    records: Records = []
    now = 0.0
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([0.0, 0.1, 1.0, 2.5, 7.0]))
        asset = draw(st.sampled_from(["press-01", "press-02"]))
        late = draw(st.sampled_from([0.0, 0.0, 3.0]))
        flags = draw(st.sampled_from([0, 0, 0, int(Flag.INITIAL), int(Flag.KEYFRAME), int(Flag.CLOCK_SKEW)]))
        status = draw(st.sampled_from([0, 0, 0, 0x408F0000, 0x80310000]))
        at = max(now - late, 0)
        match draw(st.integers(0, 7)):
            case 0:
                kept = draw(st.booleans())
                records.append(frame(now, ("_model", (EVERYTHING if kept else definition()).value()), asset=asset))
            case 1:
                word = draw(st.sampled_from(["AVAILABLE", "UNAVAILABLE"]))
                records.append(frame(now, ("_availability", word), asset=asset))
            case 2 | 3:
                records.append(tick(now, *draw(st.sampled_from([(), ("s",), ("s", "m")]))))
            case 4:
                state = draw(st.sampled_from(["Idle", "Execute", "Held"]))
                records.append(frame(now, ("state", None if status >> 31 else state, status, at, flags), asset=asset))
            case 5:
                if draw(st.booleans()):
                    records.append(frame(now, ("_removed", True), ("state", "Idle"), asset=asset))
            case _:
                value = draw(st.sampled_from([50.0, 85.0, 95.0]))
                observed = ("temperature", None if status >> 31 else value, status, at, flags)
                records.append(frame(now, observed, asset=asset))
    head = [frame(0, ("_model", EVERYTHING.value()), ("_availability", "AVAILABLE"), asset=a) for a in ("press-01",)]
    return [*head, *records]


@settings(deadline=None)
@given(streams(), st.lists(st.integers(0, 40)))
def test_a_cut_anywhere_changes_nothing(records: Records, cuts: list[int]) -> None:
    for logic in (Rules, Watchdog, Overheat):
        whole = [encode_event(event) for event in run(logic, records)]
        assert [encode_event(event) for event in cut(logic, records, [c for c in cuts if c < len(records)])] == whole


def ended(records: Records, asset: str, first: int, last: int) -> bool:
    """Whether the asset was removed by a record from `first` up to `last` (exclusive)."""
    removals = [r for r in records[first:last] if isinstance(r, Frame) and r.observations[0].item == "_removed"]
    return any(removal.asset == asset for removal in removals)


@settings(deadline=None)
@given(streams())
def test_ids_are_unique_and_changes_of_a_metric_are_in_order(records: Records) -> None:
    events = run(Rules, records)
    assert len({event.id for event in events}) == len(events)
    newest: dict[tuple[str, str], int] = {}
    basis: dict[tuple[str, str], int] = {}
    for event in events:
        key = event.asset, event.metric
        if ended(records, event.asset, basis.get(key, 0), event.basis[1]):
            newest.pop(key, None)  # another asset under the same id: a series of its own
        basis[key] = event.basis[1]
        assert event.time >= newest.get(key, 0)
        assert event.duration is None or event.duration >= 0
        newest[key] = event.time


def test_the_property_above_runs_every_rule_there_is() -> None:
    assert {spec["rule"] for spec in EVERYTHING.derive.values()} == set(KINDS)
