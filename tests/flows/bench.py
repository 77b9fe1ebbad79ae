"""A stream that nobody's device wrote, for flows as processes: frames of assets by seconds, and what became of them."""

from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import Producer

from assets.connection import KafkaConnection
from assets.frame import DerivedEvent, Frame, Tick, decode_event, encode_frame, encode_tick
from assets.stream import ASSET_STREAM, DEAD_LETTERS, partition_of, state_topic
from deploy.processes import Flow, recovery_folder
from deploy.stack import Stack
from flows._site import View, progress_group
from sinks.kafka import ensure_topics, stream_topics
from sources.kafka import committed, read_range, watermarks
from tests.streams import S, definition, frame, tick

__all__ = ["BEGIN", "MODEL", "Bench", "partition_of"]

BEGIN = 1_800_000_000
MODEL = definition(
    running={"rule": "durations", "item": "state"},
    overheat={"rule": "alarm", "item": "temperature", "above": 90.0, "on_delay": 2 * S},
    availability={"rule": "availability"},
)


class Bench:
    """The servers, the data folder and a clock of stream time for one module."""

    def __init__(self, servers: Stack, data: Path, assets: Iterable[str], **environment: str) -> None:
        self.servers, self.data, self.assets = servers, data, list(assets)
        self.kafka = KafkaConnection(bootstrap=servers.kafka_bootstrap)
        self.environment = {**servers.environment, "PENSTOCK_DATA": str(data), **environment}
        ensure_topics(self.kafka, stream_topics(1))
        self._producer = Producer({"bootstrap.servers": servers.kafka_bootstrap})
        self._second = 0

    def flow(self, name: str, *, recovery: bool, copy: str = "0/1") -> Flow:
        """A flow as a process."""
        store = recovery_folder(self.data, name, copy) if recovery else None
        log = self.data / "logs" / f"{name}-{copy.replace('/', '-of-')}.log"
        return Flow(name, {**self.environment, "PENSTOCK_COPY": copy}, log, store)

    def write(self, seconds: int) -> None:
        """So many seconds of all assets: a frame of each and a tick."""
        for _ in range(seconds):
            at = BEGIN + self._second
            for n, asset in enumerate(self.assets):
                state = ("Idle", "Execute", "Held")[(self._second + n) // 3 % 3]
                self._frame(frame(at, ("state", state), ("temperature", 80.0 + (self._second + n) % 20), asset=asset))
            self._tick(tick(at, "s"))
            self._second += 1
        self._producer.flush()

    def define(self) -> None:
        """The definitions of all assets."""
        for asset in self.assets:
            first = frame(BEGIN, ("_model", MODEL.value()), ("_availability", "AVAILABLE"), asset=asset)
            first.model = MODEL.model
            self._frame(first)
        self._producer.flush()

    def _frame(self, told: Frame) -> None:
        self.raw(partition_of(told.asset, 12), told.asset.encode(), encode_frame(told))

    def _tick(self, told: Tick) -> None:
        for partition in range(12):
            self.raw(partition, None, encode_tick(told))

    def raw(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        """A record as it is."""
        self._producer.produce(ASSET_STREAM, value, key, partition)
        self._producer.poll(0)

    def ends(self, topic: str) -> dict[int, int]:
        """Where a topic ends now."""
        return {p: high for p, (_, high) in watermarks(self.kafka, topic).items()}

    def finished(self, view: View, topic: str = ASSET_STREAM) -> bool:
        """Whether a view has finished all there is."""
        done = committed(self.kafka, progress_group(view, 1), topic)
        return all(done.get(p, 0) >= end for p, end in self.ends(topic).items())

    def events(self) -> list[DerivedEvent]:
        """All derived events."""
        bounds = {p: (low, high) for p, (low, high) in watermarks(self.kafka, state_topic(1)).items()}
        batches = read_range(self.kafka, state_topic(1), bounds)
        return [decode_event(value) for batch in batches for value in batch.values if value is not None]

    def letters(self) -> int:
        """How many dead letters there are."""
        return sum(high - low for low, high in watermarks(self.kafka, DEAD_LETTERS).values())
