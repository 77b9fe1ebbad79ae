"""Where a flow runs: servers, folders and names from the environment, and what all flows need from them.

`KAFKA_BOOTSTRAP`, `NATS_URL` (and the further variables of `assets.connection`), `PENSTOCK_PLANT`, `PENSTOCK_DATA`,
`PENSTOCK_GATEWAY`, `PENSTOCK_COPY` (i/N: this process is copy i of N of its flow), `PENSTOCK_ROLL` (how much stream
time goes into one hot Parquet file) and `PENSTOCK_LOG` (the level).
"""

import functools
import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal, ParamSpec, Self

from bytewax.dataflow import Dataflow

from assets.condition import Refused, Unavailable
from assets.connection import KafkaConnection, NatsConnection
from assets.duration import parse_duration_us
from assets.plant import ConfigError, Plant, load
from assets.stream import ASSET_STREAM, DEAD_LETTERS, VIEWS, state_topic
from operators.normalize import Normalizer
from sinks.kafka import StreamSink, ensure_topics, stream_topics
from sinks.nats import LiveSink
from sinks.parquet import DerivedSink, ObservationSink
from sources import connect
from sources._devices import Devices, now_us
from sources._partition import Stop
from sources.kafka import Bounds, StreamSource, check_topic, partition_count, read_table

P = ParamSpec("P")
View = Literal["derive", "serve", "archive"]

ROOT: Final = Path(__file__).resolve().parents[1]
DEMO_PLANT: Final = ROOT / "deploy" / "demo" / "plant"
ROLL: Final = "5m"
EXIT_REFUSED: Final = 2
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
GC_THRESHOLDS: Final = (100_000, 20, 50)
"""Records are decoded in thousands and freed by reference counts: the default thresholds would walk them in vain."""


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
    stop: Stop = field(default_factory=Stop)

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
        )

    def generation(self, view: View) -> int:
        """The generation of a view that is live: the pointer in topic `views`, 1 before any switch."""
        pointer = read_table(self.kafka, VIEWS).get(view.encode())
        return 1 if pointer is None else int(json.loads(pointer)["generation"])

    def create_topics(self, generation: int = 1) -> None:
        """Create the topics that are missing and refuse a stream that could lose records."""
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
        group = progress_group(view, generation)
        return StreamSource(self.kafka, topic, self.stop, copy=self.copy, bounds=bounds, group=group)

    def frames_sink(self) -> StreamSink:
        """Where ingest writes frames and ticks: every start of a gateway is a new run, so nothing is skipped."""
        return StreamSink(self.kafka, ASSET_STREAM, self.stop, resume="append")

    def state_sink(self, generation: int) -> StreamSink:
        """Where derive writes: what a restart derives again and finds written already is skipped."""
        return StreamSink(self.kafka, state_topic(generation), self.stop, resume="prefix")

    def dead_letters(self, flow: str) -> StreamSink:
        """Where a flow puts what it could not use."""
        return StreamSink(self.kafka, DEAD_LETTERS, self.stop, resume="ids", flow=flow)

    def live_sink(self, generation: int | None = None) -> LiveSink:
        """Where serve publishes; a generation beside the live one has a stream and subjects of its own."""
        if generation is None:
            return LiveSink(self.nats, self.stop)
        return LiveSink(self.nats, self.stop, stream=f"penstock-g{generation}", prefix=f"rebuild.g{generation}.")

    def archive_folder(self, generation: int) -> Path:
        """The Parquet files of one generation of the archive."""
        return self.data / "archive" / f"g{generation}"

    def observation_sink(self, generation: int) -> ObservationSink:
        """Where archive writes observations."""
        return ObservationSink(self.archive_folder(generation), ASSET_STREAM, self.stop, roll_us=self.roll_us)

    def derived_sink(self, generation: int, derived: int) -> DerivedSink:
        """Where archive writes derived events."""
        return DerivedSink(self.archive_folder(generation), state_topic(derived), self.stop, roll_us=self.roll_us)


@dataclass(frozen=True)
class Gateway:
    """One ingest process: its plant and its name; `run` is the instant of its start (us)."""

    name: str
    run: int
    plant: Plant
    partitions: int
    sources: tuple[str, ...]

    @classmethod
    def of(cls, site: Site) -> Self:
        """The gateway of this process; copy i of N owns every N-th source. The plant is checked before all else."""
        plant = load(site.plant)
        site.create_topics()
        i, n = map(int, site.copy.split("/"))
        name = site.gateway if n == 1 else f"{site.gateway}-{i}"
        return cls(name, now_us(), plant, site.partitions(), tuple(sorted(plant.sources)[i::n]))

    def devices(self, stop: Stop) -> Devices:
        """All sources of this gateway."""
        plant = self.plant
        return Devices({s: connect(s, plant.sources[s], plant.addresses(s)) for s in self.sources}, stop)

    @property
    def normalizers(self) -> dict[str, Callable[[], Normalizer]]:
        """A maker of the normalizer of each source."""
        return {
            name: partial(
                Normalizer,
                name,
                self.plant.bindings(name),
                max_skew_us=self.plant.sources[name].max_skew,
                run=self.run,
            )
            for name in self.sources
        }

    @property
    def assets_of(self) -> dict[str, set[str]]:
        """The assets that each source tells of."""
        return {s: {b.asset for bound in self.plant.bindings(s).values() for b in bound} for s in self.sources}


def _roll_us(text: str) -> int:
    try:
        return parse_duration_us(text)
    except ValueError as error:
        raise ConfigError(f"PENSTOCK_ROLL: {error}") from None


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
    """Prepare this process for a flow: log, signals, collector; called by each flow's factory, in the main thread."""
    logging.basicConfig(level=os.environ.get("PENSTOCK_LOG", "INFO"), format=LOG_FORMAT)
    if os.environ.get("BYTEWAX_DATAFLOW_API_ENABLED"):
        raise Refused(
            "could not start: BYTEWAX_DATAFLOW_API_ENABLED is set, and the engine would open an unprotected server on "
            "all interfaces; unset it and start again"
        )
    gc.set_threshold(*GC_THRESHOLDS)
    environment = dict(os.environ) if plant is None else {**os.environ, "PENSTOCK_PLANT": plant}
    site = Site.from_environment(environment)
    site.stop.install()
    return site
