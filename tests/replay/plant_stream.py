"""A deterministic stream of a small plant: what ingest would write, made by its own operators, for tests of replay."""

from collections.abc import Iterator
from dataclasses import dataclass

from assets.batch import Outgoing
from assets.connection import KafkaConnection
from assets.definition import Definition, Item, SourceModel
from assets.plant import Binding
from assets.reading import Link, Mark, Message, Reading, Readings
from operators.normalize import KEY_FRAME_INTERVAL_US, Normalizer
from operators.sequence import Sequencer
from sinks._kafka import shared_producer

PARTITIONS = 12
S = 1_000_000
START = 1_760_000_000 * S
PRESSES = [f"press-{n:02}" for n in range(1, 9)]
STATES = ["Idle", "Execute", "Held"]


def definition() -> Definition:
    """A press whose state and temperature come from source "s" and whose power comes from source "m"."""
    return Definition(
        type="press",
        path="acme/hamburg/forming/line-1",
        source="s",
        items={
            "state": Item(category="EVENT", source="s", address="state", states="packml"),
            "temperature": Item(source="s", address="temperature", unit="Cel", deadband=0.5),
            "power": Item(source="m", address="power", unit="kW"),
        },
        sources={"s": SourceModel(10 * S), "m": SourceModel(10 * S)},
        derive={
            "availability": {"rule": "availability"},
            "running": {"rule": "durations", "item": "state"},
            "overheat": {"rule": "alarm", "item": "temperature", "above": 90.0, "clear_below": 80.0, "on_delay": 2 * S},
        },
    )


@dataclass(frozen=True)
class Run:
    """One run of the gateway: so many seconds from `begin` on."""

    begin: int
    seconds: int

    def messages(self, source: str) -> Iterator[tuple[int, Message]]:
        """What a source hands down, each with its instant."""
        yield self._at(0), Link(self._at(0), True)
        for second in range(self.seconds):
            at = self._at(second) + 300_000
            silent = source == "m" and 30 <= second < 45
            if not silent:
                yield at, Readings(at, list(_readings(source, second)))
            mark = self._at(second + 1) + (0 if source == "s" else 1)
            yield mark, Mark(mark, not silent, 0, 0, second == self.seconds - 1)

    def _at(self, second: int) -> int:
        return self.begin + second * S


def _readings(source: str, second: int) -> Iterator[Reading]:
    for n, press in enumerate(PRESSES):
        if source == "m":
            yield Reading(f"{press}/power", 10.0 + (second + n) % 7)
        else:
            at = START + second * S + n
            yield Reading(f"{press}/state", STATES[(second // 5 + n) % 3], 0, at)
            yield Reading(f"{press}/temperature", 60.0 + (second * (n + 3)) % 40, 0, at)
    if source == "s" and second % 10 == 0:
        yield Reading("nobody-asked", 1)


def records(run: Run, key_frame_us: int = KEY_FRAME_INTERVAL_US) -> Iterator[list[Outgoing]]:
    """The records of a run, a message at a time."""
    sources = ("s", "m")
    model = definition()
    bindings = {
        source: {f"{p}/{n}": [Binding(p, n, i)] for p in PRESSES for n, i in model.items.items() if i.source == source}
        for source in sources
    }
    normalizers = {
        source: Normalizer(source, bindings[source], run=run.begin, key_frame_us=key_frame_us) for source in sources
    }
    models = dict.fromkeys(PRESSES, model)
    sequencer = Sequencer("gw-1", run.begin, PARTITIONS, models, {source: set(PRESSES) for source in sources})
    told = sorted(((at, source, m) for source in sources for at, m in run.messages(source)), key=lambda x: x[:2])
    for _, source, message in told:
        said, _ = normalizers[source].take([message])
        yield [record for _, some in sequencer.take(said) for record in some]


def write(connection: KafkaConnection, topic: str, some: Iterator[list[Outgoing]]) -> int:
    """Write records; returns how many."""
    producer = shared_producer(connection)
    count = 0
    for record in (record for batch in some for record in batch):
        producer.produce(topic, record.value, record.key, record.partition)
        producer.poll()
        count += 1
    producer.drain_within(30)
    return count
