"""Ingest through kills, outages and a full spool, between real devices and a real broker: nothing is lost unsaid."""

import random
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaException

from assets.condition import Unavailable
from assets.connection import KafkaConnection
from assets.frame import Flag, Frame, Observation, Tick, decode_frame, decode_tick
from assets.stream import ASSET_STREAM
from deploy.ports import free_port
from deploy.processes import Flow, recovery_folder
from deploy.stack import External, Stack
from deploy.wait import until
from flows._former import read_tails
from operators._tails import Tails, named_as
from replay._accounts import Accounts
from sinks._spool import Spool
from sinks.kafka import ensure_topics, stream_topics
from sources.kafka import read_range, watermarks
from tests.flows.field import PRESSES, Field, Written
from tests.forms import LONG, OUTAGE_S, SEEDS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

OUTAGE_CHANGES = int(130 * OUTAGE_S)
"""How many changes of the devices an outage lasts."""
KILLS = 3 if LONG else 2
PATIENCE_S = 60
TOLD_AGAIN = int(Flag.INITIAL | Flag.KEYFRAME | Flag.REDELIVERED)


class Seen(NamedTuple):
    """An observation where it stands."""

    frame: Frame
    observation: Observation


class Plant:
    """The field, a broker that may be away, and ingest between them."""

    def __init__(self, stack: Stack, field: Field, folder: Path, gateway: str, **more: str) -> None:
        self.stack, self.field, self.gateway = stack, field, gateway
        self.kafka = KafkaConnection(bootstrap=stack.kafka_bootstrap)
        self.broker = stack.services["kafka"]
        self.log = folder / "ingest.log"
        plant = str(field.plant(folder / "plant"))
        named = {"PENSTOCK_DATA": str(folder), "PENSTOCK_PLANT": plant, "PENSTOCK_GATEWAY": gateway}
        self.environment = {"KAFKA_BOOTSTRAP": stack.kafka_bootstrap, **named, **more}
        self._folder = folder

    def start(self, copy: str = "0/1") -> Flow:
        """Ingest, running and connected to its devices."""
        recovery = recovery_folder(self._folder, "ingest", copy)
        return Flow("ingest", {**self.environment, "PENSTOCK_COPY": copy}, self.log, recovery).start()

    def records(self) -> list[tuple[int, int, Frame | Tick]]:
        """What this gateway has written."""
        out: list[tuple[int, int, Frame | Tick]] = []
        for batch in read_range(self.kafka, ASSET_STREAM, watermarks(self.kafka, ASSET_STREAM)):
            for offset, key, value in zip(batch.offsets, batch.keys, batch.values, strict=True):
                assert value is not None
                record = decode_tick(value) if key is None else decode_frame(value)
                if named_as(self.gateway, record.gateway):
                    out.append((batch.partition, offset, record))
        return out

    def seen(self) -> list[Seen]:
        """All observations."""
        return [Seen(r, o) for _, _, r in self.records() if isinstance(r, Frame) for o in r.observations]

    def changes(self, count: int, flow: Flow) -> None:
        """Wait until the devices have changed so often."""
        goal = len(self.field.written) + count

        def reached() -> bool:
            assert flow.running, flow.crash_report()
            return len(self.field.written) >= goal

        until(reached, PATIENCE_S, "the devices")

    def told(self, flow: Flow, wanted: Written) -> None:
        """Wait until a change, or a newer one, stands on the stream."""

        def stands() -> bool:
            assert flow.running, flow.crash_report()
            try:
                return any(told_by(s, wanted) for s in self.seen())
            except (KafkaException, Unavailable):
                return False

        until(stands, PATIENCE_S, f"{wanted[:2]} on the stream", every_s=0.3)

    def reading(self, flow: Flow) -> None:
        """Wait until what the devices say now stands on the stream."""
        self.told(flow, Written(PRESSES[-1], "parts", self.field.changes, 0))

    def reading_all(self, flows: list[Flow]) -> None:
        """Wait until what all machines say now stands on the stream."""
        now = self.field.changes
        for flow in flows:
            for press in PRESSES:
                self.told(flow, Written(press, "parts", now, 0))


def counted(one: Seen | Written) -> int:
    """The counter that a value is."""
    value = one.observation.value if isinstance(one, Seen) else one.value
    return int(str(value or 0).split()[0])


def told_by(seen: Seen, wanted: Written) -> bool:
    named = (seen.frame.asset, seen.observation.item) == wanted[:2]
    return named and counted(seen) >= counted(wanted)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A broker of its own, on a port that nobody else wants while it is down."""
    folder = tmp_path_factory.mktemp("broker")
    with Stack(folder, External(nats_url="none"), preferred_ports={"kafka": free_port()}) as running:
        ensure_topics(KafkaConnection(bootstrap=running.kafka_bootstrap), stream_topics(1))
        yield running


@pytest.fixture(scope="module")
def field() -> Iterator[Field]:
    with Field() as running:
        yield running


@pytest.fixture
def plant(stack: Stack, field: Field, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Plant]:
    field.written.clear()
    field.go_on()
    made = Plant(stack, field, tmp_path, f"gw-{abs(hash(request.node.name)) % 10_000}")
    yield made
    assert "Traceback" not in made.log.read_text()


def judge(plant: Plant, written: list[Written]) -> list[Seen]:
    """Whatever a device said stands on the stream or in a gap; once, in order, numbered, accounted for."""
    seen = plant.seen()
    values = [s for s in seen if s.observation.item[0] != "_"]
    stands = standing(seen)
    spans = [(s.frame.asset, gap(s)) for s in seen if s.observation.item == "_gap"]
    unsaid = [w for w in written if w[:3] not in stands and not any(said(w, *span) for span in spans)]
    assert not unsaid, f"{len(unsaid)} of {len(written)}, first {unsaid[0].asset} {unsaid[0].time}; gaps {spans}"
    once(values)
    assert accounts(plant) == []
    return seen


def standing(seen: list[Seen]) -> set[tuple[str, str, Any]]:
    """What the stream holds of the devices' values."""
    return {(s.frame.asset, s.observation.item, s.observation.value) for s in seen if s.observation.item[0] != "_"}


def gap(seen: Seen) -> dict[str, Any]:
    assert isinstance(seen.observation.value, dict)
    return seen.observation.value


def said(missing: Written, asset: str, span: dict[str, Any]) -> bool:
    """Whether a gap tells that a change is missing."""
    named = asset == missing.asset and missing.item in span["items"]
    return named and span["from"] - 1_000 <= missing.time <= span["to"] + 1_000


def gaps(seen: list[Seen], reason: str) -> list[Seen]:
    return [s for s in seen if s.observation.item == "_gap" and gap(s)["reason"] == reason]


def once(seen: list[Seen]) -> None:
    """An observation of a device stands there once unflagged, and values never go back."""
    newest: dict[tuple[str, str], int] = {}
    for s in seen:
        o = s.observation
        if not s.frame.source.startswith("forming") or o.flags & TOLD_AGAIN:
            continue
        value = counted(s)
        assert value > newest.get((s.frame.asset, o.item), -1), (s.frame.asset, o)
        newest[s.frame.asset, o.item] = value


def accounts(plant: Plant) -> list[object]:
    """What does not add up: numbers with holes or twice, ticks that say other than what stands there.

    The accounts are those of the last tick of a run: what came after it, up to a second, is in none.
    """
    found = Accounts({})
    for partition, offset, record in plant.records():
        found.record(partition, offset, record)
    _, deviations = found.finish()
    return list(deviations)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_kill_at_any_moment_loses_nothing_unsaid_and_repeats_nothing_unflagged(plant: Plant, seed: int) -> None:
    chance = random.Random(seed)
    connected = 0
    for _ in range(KILLS):
        flow = plant.start()
        plant.reading(flow)
        connected = connected or len(plant.field.written)
        plant.changes(chance.randrange(1, 300), flow)
        flow.kill()
    flow = plant.start()
    plant.reading(flow)
    written = plant.field.rest()
    plant.told(flow, written[-1])
    assert flow.stop(20) == 0, flow.last_lines()
    seen = judge(plant, written[connected:])
    runs = sorted({s.frame.run for s in seen})
    assert len(runs) == KILLS + 1
    for run in runs[1:]:
        for asset in (*PRESSES, "meter-01"):
            own = [s for s in gaps(seen, "the gateway was not running") if (s.frame.run, s.frame.asset) == (run, asset)]
            assert len(own) == 1, (run, asset, own)


@pytest.mark.parametrize("seed", SEEDS)
def test_from_one_to_three_to_two_copies_nothing_is_lost_unsaid_or_repeated(plant: Plant, seed: int) -> None:
    """Three connections, so that copies have sources that others had before; stopped or killed, as chance will."""
    plant.field.plant(Path(plant.environment["PENSTOCK_PLANT"]), connections=3)
    chance = random.Random(seed)
    connected = 0
    for copies in (1, 3, 2):
        flows = [plant.start(f"{i}/{copies}") for i in range(copies)]
        plant.reading_all(flows)
        connected = connected or len(plant.field.written)
        plant.changes(chance.randrange(1, 200), flows[-1])
        for flow in flows:
            flow.signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
        assert {flow.wait(20) for flow in flows} <= {0, -signal.SIGKILL}
    flow = plant.start()
    plant.reading_all([flow])
    written = plant.field.rest()
    for press in PRESSES:
        plant.told(flow, [w for w in written if w[:2] == (press, "parts")][-1])
    assert flow.stop(20) == 0, flow.last_lines()
    seen = judge(plant, written[connected:])
    restarts = gaps(seen, "the gateway was not running")
    assert Counter(s.frame.asset for s in restarts) == dict.fromkeys((*PRESSES, "meter-01"), 3)


class Outage:
    """The broker is away, frozen or killed, until `end`."""

    def __init__(self, plant: Plant, how: str) -> None:
        self._broker, self._how = plant.broker, how
        if how == "frozen":
            self._broker.signal(signal.SIGSTOP)
        else:
            self._broker.kill()

    def end(self) -> None:
        if self._how == "frozen":
            self._broker.signal(signal.SIGCONT)
        else:
            self._broker.start()
        until(self._broker.ready, PATIENCE_S, "the broker")


def finish(plant: Plant, flow: Flow, written: list[Written]) -> None:
    plant.told(flow, [w for w in written if w.item == "parts"][-1])
    assert flow.stop(20) == 0, flow.last_lines()


@pytest.mark.parametrize("how", ["frozen", "killed"] if LONG else ["killed"])
def test_ingest_goes_on_reading_while_the_broker_is_away(plant: Plant, how: str, tmp_path: Path) -> None:
    flow = plant.start()
    plant.reading(flow)
    connected = len(plant.field.written)
    outage = Outage(plant, how)
    plant.changes(OUTAGE_CHANGES, flow)
    outage.end()
    plant.changes(50, flow)
    written = plant.field.rest()[connected:]
    finish(plant, flow, written)
    seen = judge(plant, written)
    assert gaps(seen, "the gateway was not running") == []
    assert {w[:3] for w in written} - standing(seen) == set()
    log = flow.last_lines(1000)
    assert log.count("is unreachable") == log.count("answers again") <= 1, log
    tails = read_tails(plant.kafka, Tails(plant.gateway), Spool(tmp_path / "another disk", 1 << 20), 12)
    assert len(tails.last) == 7
    assert tails.run == seen[0].frame.run
    assert None not in (tails.mark("forming", range(12)), tails.mark("meter", range(12)))


@pytest.mark.parametrize("how", ["frozen", "killed"] if LONG else ["frozen"])
def test_a_kill_during_an_outage_loses_nothing_that_was_read(plant: Plant, how: str) -> None:
    flow = plant.start()
    plant.reading(flow)
    connected = len(plant.field.written)
    outage = Outage(plant, how)
    plant.changes(OUTAGE_CHANGES // 2, flow)
    read = len(plant.field.written)
    plant.changes(40, flow)  # a publishing interval and more: what was written before has been read
    flow.kill()
    outage.end()
    flow = plant.start()
    plant.reading(flow)
    written = plant.field.rest()
    finish(plant, flow, written)
    seen = judge(plant, written[connected:])
    assert {w[:3] for w in written[connected:read]} - standing(seen) == set()
    assert len({s.frame.run for s in seen}) == 2


def test_an_ingest_that_starts_during_an_outage_reads_its_devices_at_once(plant: Plant) -> None:
    plant.field.forget_clients()
    outage = Outage(plant, "killed")
    flow = plant.start()
    until(lambda: plant.field.machine.subscriptions > 0 or not flow.running, PATIENCE_S, "ingest to read its devices")
    plant.changes(200, flow)
    read = len(plant.field.written)
    outage.end()
    plant.reading(flow)
    written = plant.field.rest()
    finish(plant, flow, written)
    stands = standing(plant.seen())
    for name in product(
        PRESSES, ("parts", "note")
    ):  # each item begins with the value that it had when it was asked for
        first = next(n for n, w in enumerate(written) if w[:2] == name and w[:3] in stands)
        assert first < read, "nothing stands there of what was said while Kafka was away"
        judge(plant, [w for w in written[first:] if w[:2] == name])
    assert [s for s in plant.seen() if s.observation.item == "_gap" and s.frame.source == "forming"] == []


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_a_stop_during_an_outage_is_quick_and_loses_nothing(plant: Plant, how: str) -> None:
    flow = plant.start()
    plant.reading(flow)
    connected = len(plant.field.written)
    outage = Outage(plant, how)
    plant.changes(OUTAGE_CHANGES // 4, flow)
    written = list(plant.field.rest())
    plant.field.go_on()
    plant.changes(100, flow)
    flow.signal(signal.SIGTERM)
    assert flow.wait(PATIENCE_S) == 0, flow.last_lines()
    assert "wait in spool" in flow.last_lines()
    outage.end()
    flow = plant.start()
    plant.reading(flow)
    finish(plant, flow, plant.field.rest())
    assert {w[:3] for w in written[connected:]} - standing(judge(plant, written[connected:])) == set()


def test_what_a_full_spool_cannot_take_is_counted_and_told_as_a_gap(plant: Plant) -> None:
    plant.environment["PENSTOCK_SPOOL_BYTES"] = str(1 << 18)
    flow = plant.start()
    plant.reading(flow)
    connected = len(plant.field.written)
    outage = Outage(plant, "frozen")
    until(lambda: "is full" in flow.last_lines() or flow.poll() is not None, PATIENCE_S, "the spool to be full")
    plant.changes(50, flow)
    outage.end()
    until(lambda: "has room again" in flow.last_lines() or flow.poll() is not None, PATIENCE_S, "room")
    plant.changes(50, flow)
    written = plant.field.rest()[connected:]
    finish(plant, flow, written)
    seen = judge(plant, written)
    lost = gaps(seen, "the spool was full")
    assert {s.frame.asset for s in lost} == {*PRESSES, "meter-01"}
    stands = standing(seen)
    missing = [w for w in written if w[:3] not in stands]
    for press in PRESSES:
        told = sum(gap(s)["lost"] for s in lost if s.frame.asset == press)
        assert told == sum(w.asset == press for w in missing)
    ticks = [r for _, _, r in plant.records() if isinstance(r, Tick) and "forming" in r.sources]
    assert max(t.sources["forming"].lost for t in ticks) == len(missing)
