"""Where a flow runs: servers, folders and names from the environment, and what all flows need from them.

`KAFKA_BOOTSTRAP`, `NATS_URL` (and the further variables of `assets.connection`), `PENSTOCK_PLANT`, `PENSTOCK_DATA`,
`PENSTOCK_GATEWAY`, `PENSTOCK_COPY` (i/N: this process is copy i of N of its flow), `PENSTOCK_SPOOL_BYTES` (what ingest
may keep on disk while Kafka is away), `PENSTOCK_ROLL` (how much stream time goes into one hot Parquet file) and
`PENSTOCK_LOG` (the level).
"""

import functools
import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, ParamSpec, Self

from bytewax.dataflow import Dataflow

from assets.condition import Refused, Unavailable
from assets.connection import KafkaConnection, NatsConnection
from assets.duration import parse_duration_us
from assets.plant import ConfigError
from assets.stream import ASSET_STREAM, DEAD_LETTERS, VIEWS, state_topic
from flows._set_back import end_when_set_back
from flows._store import named_store
from sinks.kafka import StreamSink, ensure_topics, stream_topics
from sinks.nats import LiveSink
from sinks.parquet import DerivedSink, ObservationSink
from sources._partition import Stop
from sources.kafka import Bounds, StreamSource, check_topic, cluster, partition_count, read_table

P = ParamSpec("P")
View = Literal["derive", "serve", "archive"]

ROOT: Final = Path(__file__).resolve().parents[1]
DEMO_PLANT: Final = ROOT / "deploy" / "demo" / "plant"
ROLL: Final = "5m"
SPOOL_BYTES: Final = 1 << 30
SPOOL_BYTES_MIN: Final = 1 << 18
EXIT_REFUSED: Final = 2
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
GC_THRESHOLDS: Final = (100_000, 20, 50)
"""Records are decoded in thousands and freed by reference counts: the default thresholds would walk them in vain."""
BATCH_RECORDS: Final[dict[View, int]] = {"derive": 500, "serve": 4_000, "archive": 500}
"""Records per poll; derive and archive are fastest while all that is decoded of it is in the processor's cache."""


@dataclass
class Uses:
    """What a flow has asked its site for, as far as its recovery store depends on it."""

    topics: set[str] = field(default_factory=lambda: {ASSET_STREAM})
    generation: int | None = None


@dataclass(frozen=True)
class Site:
    """What a flow is connected to; `stop` is the wish to end, which its sources and sinks share."""

    kafka: KafkaConnection
    nats: NatsConnection
    data: Path
    plant: Path
    gateway: str
    copy: str
    roll_us: int
    spool_bytes: int = SPOOL_BYTES
    stop: Stop = field(default_factory=Stop)
    uses: Uses = field(default_factory=Uses)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The site that the variables describe."""
        return cls(
            KafkaConnection.from_environment(environment),
            NatsConnection.from_environment(environment),
            Path(environment.get("PENSTOCK_DATA", ".data")),
            Path(environment.get("PENSTOCK_PLANT", DEMO_PLANT)),
            environment.get("PENSTOCK_GATEWAY", "gw-1"),
            environment.get("PENSTOCK_COPY", "0/1"),
            _roll_us(environment.get("PENSTOCK_ROLL", ROLL)),
            _spool_bytes(environment.get("PENSTOCK_SPOOL_BYTES", str(SPOOL_BYTES))),
        )

    def generation(self, view: View) -> int:
        """The generation of a view that is live; refuses one that lacks the beginning of the stream."""
        table = read_table(self.kafka, VIEWS)
        generation = live_generation(table, view)
        if json.loads(table.get(f"{view}.g{generation}".encode(), b"{}")).get("partial"):
            raise Refused(
                f'could not use generation {generation} of view "{view}" as the live one: it is partial, for it was '
                f"rebuilt from the middle of the stream; make a whole one with: python -m replay rebuild {view}"
            )
        return generation

    def pointer(self, view: View) -> int:
        """The generation that topic `views` calls the live one, whatever it is worth; 1 before any switch."""
        return live_generation(read_table(self.kafka, VIEWS), view)

    def create_topics(self, generation: int = 1) -> None:
        """Create the topics that are missing and refuse a stream that could lose records."""
        if (store := named_store()) is not None:
            store.expect(lambda: cluster(self.kafka, self.stop).id)
        ensure_topics(self.kafka, stream_topics(1), self.stop)
        for wanted in {generation, self.generation("derive")} - {1}:
            ensure_topics(self.kafka, stream_topics(wanted), self.stop)
        check_topic(self.kafka, ASSET_STREAM)

    def partitions(self) -> int:
        """How many partitions the stream has."""
        return partition_count(self.kafka, ASSET_STREAM)

    def stream(self, view: View, generation: int, bounds: Bounds | None = None) -> StreamSource:
        """The records of `asset-stream`, for a view that notes its progress."""
        return self._source(ASSET_STREAM, view, generation, bounds)

    def state(self, view: View, generation: int, derived: int, bounds: Bounds | None = None) -> StreamSource:
        """The derived events of generation `derived`, for a view that notes its progress."""
        return self._source(state_topic(derived), view, generation, bounds)

    def _source(self, topic: str, view: View, generation: int, bounds: Bounds | None) -> StreamSource:
        self.uses.topics.add(topic)
        self.uses.generation = generation
        group = progress_group(view, generation)
        records = BATCH_RECORDS[view]
        return StreamSource(
            self.kafka, topic, self.stop, copy=self.copy, bounds=bounds, group=group, batch_records=records
        )

    def state_sink(self, generation: int) -> StreamSink:
        """Where derive writes: what a restart derives again and finds written already is skipped."""
        self.uses.topics.add(state_topic(generation))
        return StreamSink(self.kafka, state_topic(generation), self.stop, resume="prefix")

    def dead_letters(self, flow: str) -> StreamSink:
        """Where a flow puts what it could not use."""
        return StreamSink(self.kafka, DEAD_LETTERS, self.stop, resume="ids", flow=flow)

    def live_sink(self, generation: int | None = None) -> LiveSink:
        """Where serve publishes; a generation beside the live one has a stream and subjects of its own."""
        if generation is None:
            return LiveSink(self.nats, self.stop, copy=self.copy)
        stream, prefix = f"penstock-g{generation}", f"rebuild.g{generation}."
        return LiveSink(self.nats, self.stop, stream=stream, prefix=prefix, last_only=True)

    def archive_folder(self, generation: int) -> Path:
        """The Parquet files of one generation of the archive."""
        return self.data / "archive" / f"g{generation}"

    def observation_sink(self, generation: int) -> ObservationSink:
        """Where archive writes observations."""
        return ObservationSink(self.archive_folder(generation), ASSET_STREAM, self.stop, roll_us=self.roll_us)

    def derived_sink(self, generation: int, derived: int) -> DerivedSink:
        """Where archive writes derived events."""
        return DerivedSink(self.archive_folder(generation), state_topic(derived), self.stop, roll_us=self.roll_us)


def live_generation(table: Mapping[bytes, bytes], view: View) -> int:
    """The generation that a table like topic `views` calls the live one of a view."""
    record = table.get(view.encode())
    return 1 if record is None else int(json.loads(record)["generation"])


def _roll_us(text: str) -> int:
    try:
        return parse_duration_us(text)
    except ValueError as error:
        raise ConfigError(f"PENSTOCK_ROLL: {error}") from None


def _spool_bytes(text: str) -> int:
    if not text.isdecimal() or int(text) < SPOOL_BYTES_MIN:
        raise ConfigError(f'PENSTOCK_SPOOL_BYTES is "{text}"; expected a number of bytes, {SPOOL_BYTES_MIN} or more')
    return int(text)


def progress_group(view: View, generation: int) -> str:
    """The consumer group under which a view notes how far it is (for lag tools; positions live in the flow)."""
    return f"penstock.{view}.g{generation}"


def entry(factory: Callable[P, Dataflow]) -> Callable[P, Dataflow]:
    """A flow's factory whose errors are one message: exit code 2 where a restart would not help, else 1."""

    @functools.wraps(factory)
    def refusing(*arguments: P.args, **options: P.kwargs) -> Dataflow:
        try:
            return factory(*arguments, **options)
        except (ConfigError, Refused) as error:
            print(error, file=sys.stderr)
            raise SystemExit(EXIT_REFUSED) from None
        except Unavailable as error:
            raise SystemExit(str(error)) from None

    return refusing


def start(plant: str | None = None) -> Site:
    """Prepare this process for a flow: log, recovery store, signals, collector.

    Called by each flow's factory, in the main thread.
    """
    logging.basicConfig(level=os.environ.get("PENSTOCK_LOG", "INFO"), format=LOG_FORMAT)
    if os.environ.get("BYTEWAX_DATAFLOW_API_ENABLED"):
        raise Refused(
            "could not start: BYTEWAX_DATAFLOW_API_ENABLED is set, and the engine would open an unprotected server on "
            "all interfaces; unset it and start again"
        )
    if (store := named_store()) is not None:
        store.lock()
    gc.set_threshold(*GC_THRESHOLDS)
    environment = dict(os.environ) if plant is None else {**os.environ, "PENSTOCK_PLANT": plant}
    site = Site.from_environment(environment)
    site.stop.install()
    end_when_set_back()
    return site
