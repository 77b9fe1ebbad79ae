"""What the operators derive from a run of the plant is what the plant's own second opinion expects, to the microsecond.

The gateway is an ideal one here: it hears all that was served 30 ms later, polls every 200 ms and knows at once when a
link is lost. So nothing but the operators can differ.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from assets.batch import Batch
from assets.frame import VERSION, Frame, Observation, SourceAccount, Tick
from assets.plant import Plant, load
from assets.reading import Link, Mark, Message, Reading, Readings
from assets.stream import MODEL
from deploy.demo import expected, site
from deploy.demo.physics import SECOND_US
from operators._assets import Assets
from operators.normalize import Normalizer
from operators.rules import Rules
from sources import modbus
from tests.deploy.demo.simulation import SECONDS, Run

pytestmark = pytest.mark.slow

LATENCY_US = 30_000
POLL_US = 200_000
ENVIRONMENT = site.environment([1, 2, 3, 4])


class Sent(NamedTuple):
    """A message of a source, sortable by when it is sent; marks come last."""

    at: int
    rank: int
    source: str
    message: Message


class Gateway:
    """Everything between the devices and the derived events, without Kafka."""

    def __init__(self, plant: Plant, start_us: int) -> None:
        self.events: list[expected.Change] = []
        self._assets = Assets(0, "rules", Rules)
        self._normalizers = {name: Normalizer(name, plant.bindings(name), run=start_us) for name in plant.sources}
        self._accounts: dict[str, SourceAccount] = {}
        self._offset = 0
        for name, asset in plant.assets.items():
            model = Observation(MODEL, asset.definition.value())
            source = asset.definition.source or ""
            self._write(Frame(VERSION, name, source, "gw", start_us, 1, start_us, asset.model, [model]))

    def take(self, sent: Sent) -> None:
        said, rejected = self._normalizers[sent.source].take([sent.message])
        assert not rejected
        for thing in said:
            if isinstance(thing, Frame):
                self._write(thing)
            else:
                self._accounts[sent.source] = thing.account
        if len(self._accounts) == len(self._normalizers):
            self._write(Tick(VERSION, "gw", 1, 1, sent.at, self._accounts))
            self._accounts = {}

    def _write(self, record: Frame | Tick) -> None:
        batch = Batch(0, self._offset, self._offset + 1, [self._offset], [record])
        self._offset += 1
        self.events += [(e.asset, e.metric, e.value, e.time) for e in self._assets.batch(batch)]


class Devices:
    """The run's truth as messages of the plant folder's sources."""

    def __init__(self, run: Run, plant: Plant) -> None:
        self._run = run
        self._plant = plant
        self._addresses = {
            (b.asset, b.name): (source, address, b.item)
            for source in plant.sources
            for address, bindings in plant.bindings(source).items()
            for b in bindings
        }
        endpoints = {ENVIRONMENT[f"DEMO_{name.upper().replace('-', '_')}"]: name for name in site.SERVERS}
        self._targets = {
            name: endpoints[source.endpoint] + (f"/{source.unit}" if isinstance(source, modbus.Config) else "")
            for name, source in plant.sources.items()
        }
        self._lost = {
            (name, line["from"], line["to"])
            for line in run.lines
            for name, target in self._targets.items()
            if line["kind"] == "fault" and line["to"] and (line["fault"], line["target"]) != ("frozen", target)
            if line["target"] == target
        }

    def messages(self) -> list[Sent]:
        """All messages in the order in which they are sent."""
        sent = [*self._links(), *self._served(), *self._polled(), *self._marks()]
        return sorted(sent, key=lambda each: each[:3])

    def _instants(self, step_us: int) -> range:
        return range(self._run.start_us, self._run.start_us + SECONDS * SECOND_US, step_us)

    def _links(self) -> Iterator[Sent]:
        for source in self._plant.sources:
            yield Sent(self._run.start_us, 0, source, Link(self._run.start_us, available=True))
        for source, begin, end in self._lost:
            yield Sent(begin, 0, source, Link(begin, available=False, reason="lost"))
            yield Sent(end, 1, source, Link(end, available=True))

    def _served(self) -> Iterator[Sent]:
        told: dict[tuple[int, str], list[Reading]] = defaultdict(list)
        for line in self._run.lines:
            if line["kind"] == "served":
                source, address, _ = self._addresses[line["asset"], line["item"]]
                reading = Reading(address, line["value"], line["status"], line["source_time"])
                told[line["at"] + LATENCY_US, source].append(reading)
        for (at, source), readings in told.items():
            yield Sent(at, 2, source, Readings(at, readings, clock=at))

    def _polled(self) -> Iterator[Sent]:
        changes = iter([line for line in self._run.lines if line["kind"] == "register"])
        change = next(changes, None)
        held: dict[tuple[str, str], Any] = {}
        for at in self._instants(POLL_US):
            while change is not None and change["at"] <= at:
                held[change["asset"], change["item"]] = change["value"]
                change = next(changes, None)
            yield from self._poll(at + LATENCY_US, held)

    def _poll(self, at: int, held: dict[tuple[str, str], Any]) -> Iterator[Sent]:
        readings: dict[str, list[Reading]] = defaultdict(list)
        for key, value in held.items():
            source, address, item = self._addresses[key]
            raw = round(value / item.scale) if item.scale != 1 and key[1] != "energy" else value
            readings[source].append(Reading(address, raw))
        for source, each in readings.items():
            if not self._is_lost(source, at):
                yield Sent(at, 2, source, Readings(at, each))

    def _marks(self) -> Iterator[Sent]:
        for at in self._instants(SECOND_US):
            for source in self._plant.sources:
                proved = not self._is_lost(source, at)
                yield Sent(at + 2 * LATENCY_US, 3, source, Mark(at + 2 * LATENCY_US, proved, 0))

    def _is_lost(self, source: str, at: int) -> bool:
        return any(name == source and begin <= at < end for name, begin, end in self._lost)


def test_operators_derive_what_the_second_opinion_expects(run: Run) -> None:
    plant = load(site.PLANT, ENVIRONMENT)
    gateway = Gateway(plant, run.start_us)
    for sent in Devices(run, plant).messages():
        gateway.take(sent)
    wanted = expected.expected_changes(run.lines)
    assert len(wanted) > 150
    clocks = [doubt for doubt in expected.doubts(run.lines) if doubt.asset == "press-04"]
    for kind, tolerance_us in (("press", 0), ("furnace", 0), ("conveyor", POLL_US + LATENCY_US)):
        must, are = ([each for each in changes if each[0].startswith(kind)] for changes in (wanted, gateway.events))
        assert expected.differences(must, are, tolerance_us, clocks) == []
