"""What was read before Kafka answered, on its way to the rules: as if there had been no outage."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from assets.batch import Batch
from assets.definition import Definition, Item, SourceModel
from assets.frame import DerivedEvent, Frame, Tick, decode_frame, decode_tick
from assets.plant import Binding
from assets.reading import Link, Mark, Message, Reading, Readings
from operators._assets import Assets
from operators._links import LinkChange, Links
from operators.normalize import Normalizer
from operators.rules import Rules
from operators.sequence import Sequencer
from sources._backlog import Backlog
from sources._devices import Outlet, now_us
from sources._intake import _DevicePartition, _Intake
from sources._partition import Stop
from tests.sources.test_devices import Device
from tests.streams import S, tick

OUTAGE_S = 120
ROUNDS_PER_S = 4
BUSY, QUIET = ("busy-1", "busy-2", "busy-3"), ("quiet-1", "quiet-2")
"""Sources with values in each round, and such that say no more than that they are alive."""
SHARED = "oven-01"
"""An asset that both kinds tell of."""


def definition(*sources: str) -> Definition:
    items = {source: Item(source=source, address="t", unit="Cel") for source in sources}
    alarm = {"rule": "alarm", "item": sources[0], "above": 90.0, "clear_below": 80.0, "on_delay": 5 * S}
    return Definition(
        type="oven",
        path="acme/hamburg/forming/line-1",
        source=sources[0],
        items=items,
        sources={source: SourceModel(10 * S) for source in sources},
        derive={"availability": {"rule": "availability"}, "hot": alarm},
    )


MODELS = {f"press-{source}": definition(source) for source in (*BUSY, *QUIET)} | {
    SHARED: definition("busy-1", "quiet-1")
}
ASSETS = {s: {asset for asset, model in MODELS.items() if s in model.all_sources} for s in (*BUSY, *QUIET)}


def said(source: str, turn: int, began: int) -> list[Message]:
    """What a source says in a round; a busy one is hot for 2 s, shorter than the alarm waits."""
    at = began + turn * S // ROUNDS_PER_S
    messages: list[Message] = [Link(at, True)] if turn == 0 else []
    if source in BUSY:
        hot = 160 <= turn < 160 + 2 * ROUNDS_PER_S
        messages.append(Readings(at, [Reading("t", (95.0 if hot else 20.0) + turn % 7)]))
    if turn % ROUNDS_PER_S == ROUNDS_PER_S - 1:
        messages.append(Mark(at + 1, True, turn, 0))
    return messages


class Pipeline:
    """A gateway from its backlog to the rules behind the stream, asked in turn as the engine does."""

    def __init__(self, folder: Path) -> None:
        self.backlog = Backlog(folder, 1 << 30)
        self.sources = (*BUSY, *QUIET)
        self.began = now_us() - OUTAGE_S * S
        self.room = True
        for turn in range(OUTAGE_S * ROUNDS_PER_S):
            for source in self.sources:
                if messages := said(source, turn, self.began):
                    self.backlog.put(source, messages, turn)
        self.normalizers = {source: self._normalizer(source) for source in self.sources}
        self.sequencer = Sequencer("gw-1", self.began, 1, MODELS, ASSETS)

    def _normalizer(self, source: str) -> Normalizer:
        bound = [Binding(asset, source, MODELS[asset].items[source]) for asset in sorted(ASSETS[source])]
        return Normalizer(source, {"t": bound}, run=self.began)

    def records(self) -> Iterator[Frame | Tick]:
        intakes = [_Intake(Device(_silent, source), lambda: False) for source in self.sources]
        parts = [_DevicePartition(intake, Stop(), lambda: not self.room, self.backlog) for intake in intakes]
        try:
            while not self.backlog.empty:
                for part in parts:
                    for source, messages in part.next_batch():
                        yield from self.take(source, messages)
        finally:
            for part in parts:
                part.close()

    def take(self, source: str, messages: list[Message]) -> Iterator[Frame | Tick]:
        things, _ = self.normalizers[source].take(messages)
        for _, outgoing in self.sequencer.take(things):
            for record in outgoing:
                assert record.value is not None
                yield decode_tick(record.value) if record.key is None else decode_frame(record.value)


def _silent(outlet: Outlet, start: int) -> None:
    """A device that has said all."""


class Drained(NamedTuple):
    """What the rules saw and what they made of it."""

    records: list[Frame | Tick]
    events: list[DerivedEvent]


@pytest.fixture
def drained(tmp_path: Path) -> Drained:
    records = list(Pipeline(tmp_path).records())
    numbers = list(range(len(records)))
    return Drained(records, Assets(0, "rules", Rules).batch(Batch(0, 0, len(records), numbers, records)))


def test_no_source_falls_silent_because_another_has_said_more(drained: Drained) -> None:
    available = [(e.asset, e.value) for e in drained.events if e.metric == "availability"]
    assert sorted(available) == [(asset, "AVAILABLE") for asset in sorted(MODELS)]


def test_a_spike_that_is_too_short_for_an_alarm_raises_none(drained: Drained) -> None:
    assert [e for e in drained.events if e.metric == "hot" and e.value != "CLEAR"] == []


def test_a_gateway_that_catches_up_does_not_age_the_sources_of_another_one(tmp_path: Path) -> None:
    links = Links()
    other = tick(0, "meter", gateway="gw-2")
    assert list(links.tick(other)) == []
    assert list(links.said("meter-01", "meter", True, 0)) == [LinkChange("meter-01", "meter", True, 0)]
    began = now_us()
    for record in Pipeline(tmp_path).records():
        if isinstance(record, Tick):
            assert [change for change in links.tick(record) if change.source == "meter"] == []
    assert links.clock <= now_us() - began, "the clock runs no faster than the time passes"


def test_there_is_one_tick_per_second_of_the_outage(drained: Drained) -> None:
    assert sum(isinstance(record, Tick) for record in drained.records) == OUTAGE_S
