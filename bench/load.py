"""A bounded load on `asset-stream`: frames of many assets, deterministic, with the rules that derive state."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Producer

from assets.definition import Definition, Item, SourceModel
from assets.frame import VERSION, Frame, Observation, encode_frame
from assets.stream import partition_of

START_US: Final = 1_800_000_000_000_000
STATES: Final = ("Idle", "Execute", "Held", "Suspended")
OTHERS: Final = tuple(f"value{n}" for n in range(8))


@dataclass(frozen=True)
class Load:
    """So many frames, of so many assets, with so many observations (1 or 10) each."""

    assets: int
    frames: int
    observations: int

    @property
    def name(self) -> str:
        """How the load is printed."""
        return f"{self.assets // 1000}k assets, frames of {self.observations}"


DEFINITION: Final = Definition(
    type="bench",
    path="acme/hamburg/bench/line-1",
    source="bench",
    items={
        "temperature": Item(source="bench", address="t", unit="Cel"),
        "state": Item(category="EVENT", source="bench", address="s"),
        **{name: Item(source="bench", address=name) for name in OTHERS},
    },
    sources={"bench": SourceModel(10_000_000)},
    derive={
        "overheat": {"rule": "alarm", "item": "temperature", "above": 90.0, "clear_below": 80.0},
        "running": {"rule": "durations", "item": "state"},
    },
)


def frames(load: Load, seed: int = 1) -> Iterator[Frame]:
    """First a definition of each asset, then frames in turn; about one in twenty changes a derived metric."""
    chance, model, definition = random.Random(seed), DEFINITION.model, DEFINITION.value()
    names = [f"asset-{n:05}" for n in range(load.assets)]
    for asset in names:
        yield Frame(VERSION, asset, "bench", "bench", START_US, 1, START_US, model, [Observation("_model", definition)])
    for n in range(load.frames):
        at = START_US + n * 100
        hot = 95.0 if chance.random() < 0.025 else 85.0 if chance.random() < 0.5 else 75.0
        state = STATES[(n // load.assets // 20) % 4]
        temperature = Observation("temperature", hot, 0, at)
        running = Observation("state", state, 0, at)
        rest = [Observation(name, chance.random(), 0, at) for name in OTHERS] if load.observations > 1 else []
        told = [temperature, running, *rest] if rest else [temperature if n & 1 else running]
        yield Frame(VERSION, names[n % load.assets], "bench", "bench", START_US, n, at, model, told)


def write(load: Load, bootstrap: str, topic: str, partitions: int) -> int:
    """Write the load; returns the number of records."""
    settings = {"bootstrap.servers": bootstrap, "compression.type": "zstd", "linger.ms": 5, "acks": "all"}
    producer = Producer({**settings, "queue.buffering.max.messages": 1_000_000})
    count = 0
    for frame in frames(load):
        record = encode_frame(frame)
        while True:
            try:
                producer.produce(topic, record, frame.asset.encode(), partition_of(frame.asset, partitions))
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
    producer.flush()
    return count
