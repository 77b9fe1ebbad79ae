"""The same stream gives the same views: in 1, 2 or 4 copies, by two workers, in any batches, cut, whole or rebuilt.

Every view runs as it does live, on the real Kafka, NATS and file system: derived events, Parquet rows and live values
are compared byte for byte.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from confluent_kafka import Consumer, Producer, TopicPartition

from assets.connection import KafkaConnection
from assets.frame import Flag, Frame, Tick, decode_event, encode_frame, encode_tick
from assets.stream import ASSET_STREAM, DEAD_LETTERS, partition_of, state_topic
from deploy.stack import Stack
from flows import archive, derive, serve
from flows._site import Site, View
from replay._parquet import SERIES, Table
from replay.rebuild import rebuild
from sinks._bound import BoundSink
from sinks.kafka import StreamSink, TopicSpec, ensure_topics, stream_topics
from sinks.nats import LiveSink, find_last_values
from sinks.parquet import DerivedSink, ObservationSink
from sources._bound import Binding
from sources._partition import Stop
from sources.kafka import StreamSource, read_range, watermarks
from tests.streams import S, definition, frame, tick

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

PARTITIONS: Final = 12
RULES: Final = definition(
    overheat={"rule": "alarm", "item": "temperature", "above": 90.0, "clear_below": 80.0, "on_delay": 3 * S},
    running={"rule": "durations", "item": "state"},
    availability={"rule": "availability"},
)
OTHERS: Final = definition(overheat={"rule": "alarm", "item": "temperature", "above": 70.0})
MOVED: Final = msgspec.structs.replace(RULES, path="acme/hamburg/forming/line-2")
Outputs = dict[tuple[str, ...], list[Any]]
"""What a view has written: of an asset's metric, of a series or a subject, in order."""


def random_stream(seed: int, records: int) -> Iterator[Frame | Tick]:
    """Two gateways an hour apart, 40 assets: samples, states, losses, gaps, changed rules, late and repeated values."""
    chance = random.Random(seed)
    assets = [f"asset-{n:02}" for n in range(40)]
    for asset in assets:
        yield defined(frame(0, ("_model", RULES.value()), ("_availability", "AVAILABLE"), asset=asset), RULES.model)
    now = 1.0
    for _ in range(records):
        now += chance.choice([0.0, 0.01, 0.2, 1.0])
        asset, late = chance.choice(assets), chance.choice([0, 0, 0, 2.0])
        flags = chance.choice([0] * 8 + [int(Flag.INITIAL), int(Flag.KEYFRAME), int(Flag.CLOCK_SKEW)])
        status = chance.choice([0] * 8 + [0x40000000, 0x80310000])
        known = status < 0x80000000
        kind = chance.random()
        if kind < 0.1:
            yield tick(now, *chance.choice([(), ("s",), ("s", "m")]))
        elif kind < 0.15:
            yield tick(now + 3600, "x", gateway="gw-2")
        elif kind < 0.18:
            yield frame(now, ("_availability", chance.choice(["AVAILABLE", "UNAVAILABLE"])), asset=asset)
        elif kind < 0.2:
            rules = chance.choice([RULES, OTHERS, MOVED])
            broken = chance.random() < 0.1
            told = frame(now, ("_model", {"type": 1} if broken else rules.value()), asset=asset)
            yield defined(told, "broken" if broken else rules.model)
        elif kind < 0.22:
            gap = {"items": ["state"], "from": int((now - 1) * S), "to": int(now * S), "reason": "?", "lost": None}
            yield frame(now, ("_gap", gap), asset=asset)
        elif kind < 0.225:
            yield frame(now, ("_removed", True), asset=asset)
        elif kind < 0.6:
            state = chance.choice(["Idle", "Execute", "Held"]) if known else None
            yield frame(now, ("state", state, status, max(now - late, 0), flags), asset=asset)
        else:
            value = chance.choice([50.0, 75.0, 85.0, 95.0]) if known else None
            yield frame(now, ("temperature", value, status, max(now - late, 0), flags), asset=asset)


def defined(told: Frame, model: str) -> Frame:
    """The frame under the hash of its definition."""
    told.model = model
    return told


def write(connection: KafkaConnection, records: Iterator[Frame | Tick]) -> int:
    """Frames to the partition of their asset, ticks to all, and now and then poison; returns how much of it."""
    producer, poison = Producer({"bootstrap.servers": connection.bootstrap}), 0
    for number, record in enumerate(records):
        if isinstance(record, Frame):
            home, key, value = partition_of(record.asset, PARTITIONS), record.asset.encode(), encode_frame(record)
            producer.produce(ASSET_STREAM, value, key, home)
            if number % 50 == 0:
                poison += 2
                producer.produce(ASSET_STREAM, value, key, (home + 1) % PARTITIONS)
                producer.produce(ASSET_STREAM, value[:-1], key, home)
        else:
            for partition in range(PARTITIONS):
                producer.produce(ASSET_STREAM, encode_tick(record), None, partition)
        producer.poll(0)
    producer.flush()
    return poison


@dataclass(frozen=True)
class Way:
    """How a view is run: which copy, by how many workers, in which batches, how far, from which store."""

    copy: str = "0/1"
    workers: int = 1
    batch_records: int = 4000
    share: float = 1.0
    recovery: Path | None = None


class Place(ABC):
    """Where one run of a view, or several, write to, and what is found there."""

    view: View

    def __init__(self, site: Site, number: int) -> None:
        self.site, self.number = site, number

    def run(self, way: Way) -> None:
        """Run the view over its share of the stream."""
        stop = Stop()
        letters = StreamSink(self.site.kafka, DEAD_LETTERS, stop, resume="ids", flow=self.view)
        store = None if way.recovery is None else RecoveryConfig(str(way.recovery), backup_interval=timedelta(0))
        flow = self.flow(lambda topic: self._source(topic, way, stop), letters, way, stop)
        cli_main(
            flow,
            workers_per_process=way.workers,
            recovery_config=store,
            epoch_interval=timedelta(milliseconds=200),
        )

    def _source(self, topic: str, way: Way, stop: Stop) -> StreamSource:
        ends = watermarks(self.site.kafka, topic).items()
        bounds = {p: (low, low + int((high - low) * way.share)) for p, (low, high) in ends}
        return StreamSource(self.site.kafka, topic, stop, copy=way.copy, bounds=bounds, batch_records=way.batch_records)

    @abstractmethod
    def flow(self, source: Callable[[str], StreamSource], letters: StreamSink, way: Way, stop: Stop) -> Dataflow:
        """The view between the stream and this place."""

    @abstractmethod
    def outputs(self) -> Outputs:
        """What has been written here."""


class Derived(Place):
    """A topic of derived events; number 1 is the one that the other views read."""

    view = "derive"

    def __init__(self, site: Site, number: int) -> None:
        super().__init__(site, number)
        self.topic = state_topic(number)
        ensure_topics(site.kafka, [TopicSpec(name=self.topic, partitions=PARTITIONS)])

    def flow(self, source: Callable[[str], StreamSource], letters: StreamSink, way: Way, stop: Stop) -> Dataflow:
        return derive.build(
            PARTITIONS, source(ASSET_STREAM), StreamSink(self.site.kafka, self.topic, stop, resume="prefix"), letters
        )

    def outputs(self) -> Outputs:
        found: Outputs = {}
        for batch in read_range(self.site.kafka, self.topic, dict(watermarks(self.site.kafka, self.topic))):
            for value in batch.values:
                assert value is not None
                event = decode_event(value)
                found.setdefault((event.asset, event.metric), []).append(value)
        return found


class Archived(Place):
    """A folder of Parquet files."""

    view = "archive"

    def flow(self, source: Callable[[str], StreamSource], letters: StreamSink, way: Way, stop: Stop) -> Dataflow:
        folder, state = self.site.archive_folder(self.number), state_topic(1)
        observations = ObservationSink(folder, ASSET_STREAM, stop, roll_us=600 * S)
        derived = DerivedSink(folder, state, stop, roll_us=600 * S)
        return archive.build(PARTITIONS, source(ASSET_STREAM), source(state), observations, derived, letters)

    def outputs(self) -> Outputs:
        found: Outputs = {}
        for name, series in SERIES.items():
            table = Table(self.site.archive_folder(self.number), name)
            for partition in table.ranges:
                for row in table.read(partition, *table.extent(partition)).iter_rows(named=True):
                    found.setdefault((name, *(row[column] for column in series)), []).append(repr(row))
        return found


class Served(Place):
    """A stream of NATS with the last value of each subject."""

    view = "serve"

    def flow(self, source: Callable[[str], StreamSource], letters: StreamSink, way: Way, stop: Stop) -> Dataflow:
        stream, prefix = self._names
        live = LiveSink(self.site.nats, stop, stream=stream, prefix=prefix, copy=way.copy)
        bound = Binding(live.reached)
        refused = BoundSink(letters, bound.position, live.reached)
        return serve.build(PARTITIONS, bound(source(ASSET_STREAM)), bound(source(state_topic(1))), live, refused)

    def outputs(self) -> Outputs:
        stream, prefix = self._names
        held = asyncio.run(find_last_values(self.site.nats, stream)) or {}
        return {(subject.removeprefix(prefix),): [payload] for subject, payload in held.items()}

    @property
    def _names(self) -> tuple[str, str]:
        """The names of the stream and of its subjects; those of a rebuilt generation."""
        return f"penstock-g{self.number}", f"rebuild.g{self.number}."


PLACES: Final[dict[View, type[Place]]] = {"derive": Derived, "archive": Archived, "serve": Served}


class Views:
    """The stream, and what each view makes of it in one piece."""

    def __init__(self, site: Site, poison: int) -> None:
        self.site, self.poison = site, poison
        self._numbers = count(1)
        first = Derived(site, next(self._numbers))
        first.run(Way())
        self._wholes: dict[View, Outputs] = {"derive": first.outputs()}

    def whole(self, view: View) -> Outputs:
        """What one copy with one worker makes of the whole stream."""
        if view not in self._wholes:
            self._wholes[view] = self.made(view, Way())
        return self._wholes[view]

    def made(self, view: View, *ways: Way) -> Outputs:
        """What is there after some runs into one place."""
        place = PLACES[view](self.site, next(self._numbers))
        for way in ways:
            place.run(way)
        return place.outputs()

    def rebuilt(self, view: View) -> Outputs:
        """What a rebuild makes."""
        number = next(self._numbers)
        rebuild(self.site, view, number)
        return PLACES[view](self.site, number).outputs()


@pytest.fixture(scope="module")
def views(servers: Stack, data: Path) -> Views:
    """Views of a stream that is random but the same each time."""
    site = replace(Site.from_environment({**servers.environment, "PENSTOCK_DATA": str(data)}), roll_us=600 * S)
    ensure_topics(site.kafka, stream_topics(1))
    return Views(site, write(site.kafka, random_stream(7, 6000)))


each = pytest.mark.parametrize("view", PLACES)


def test_the_stream_is_worth_the_test(views: Views) -> None:
    derived, rows, live = (views.whole(view) for view in PLACES)
    assert {metric for _, metric in derived} == {"overheat", "running", "availability"}
    assert len(derived) > 100
    assert sum(map(len, derived.values())) > 1000
    assert {table for table, *_ in rows} == {*SERIES}
    assert sum(map(len, rows.values())) > 5000
    assert {"line-1" in subject for (subject,) in live} == {True, False}
    assert len(live) > 150


@each
@pytest.mark.parametrize("copies", [2, 4])
def test_copies_give_the_same(views: Views, view: View, copies: int) -> None:
    assert views.made(view, *(Way(copy=f"{i}/{copies}") for i in range(copies))) == views.whole(view)


@each
def test_two_workers_give_the_same(views: Views, view: View) -> None:
    assert views.made(view, Way(workers=2)) == views.whole(view)


@each
@pytest.mark.parametrize("batch_records", [13])
def test_batches_of_any_size_give_the_same(views: Views, view: View, batch_records: int) -> None:
    assert views.made(view, Way(batch_records=batch_records)) == views.whole(view)


@each
def test_a_run_anew_without_a_store_adds_nothing(views: Views, view: View) -> None:
    assert views.made(view, Way(share=0.4), Way(), Way()) == views.whole(view)


@each
def test_a_stream_read_to_a_bound_and_then_on_from_the_store_gives_the_same(
    views: Views, view: View, tmp_path: Path
) -> None:
    init_db_dir(tmp_path, 1)
    ways = [Way(share=share, recovery=tmp_path) for share in (0.2, 0.5, 0.5, 1.0)]
    assert views.made(view, *ways) == views.whole(view)


@each
def test_a_rebuild_gives_the_same(views: Views, view: View) -> None:
    assert views.rebuilt(view) == views.whole(view)


def test_after_all_these_runs_every_dead_letter_is_there_once(views: Views) -> None:
    """Each view has refused the same records, once for all its runs."""
    for view in PLACES:
        views.whole(view)
    found = {view: [letter["origin"] for letter in letters(views.site) if letter["flow"] == view] for view in PLACES}
    assert all(len(origins) == len(set(origins)) for origins in found.values())
    assert len(found["archive"]) == len(found["serve"]) == views.poison
    assert {*found["archive"]} == {*found["serve"]} < {*found["derive"]}, "derive refuses definitions as well"


def letters(site: Site) -> Iterator[dict[str, str]]:
    """The headers of all dead letters."""
    marks = watermarks(site.kafka, DEAD_LETTERS)
    consumer = Consumer({"bootstrap.servers": site.kafka.bootstrap, "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(DEAD_LETTERS, partition, low) for partition, (low, _) in marks.items()])
    for _ in range(sum(high - low for low, high in marks.values())):
        message = consumer.poll(60)
        assert message is not None
        yield {name: value.decode() for name, value in cast("list[tuple[str, bytes]]", message.headers())}
    consumer.close()


def test_every_asset_lives_in_one_partition(views: Views) -> None:
    homes: dict[bytes, set[int]] = {}
    for batch in read_range(views.site.kafka, ASSET_STREAM, dict(watermarks(views.site.kafka, ASSET_STREAM))):
        for key, value in zip(batch.keys, batch.values, strict=True):
            if key is not None and value is not None and value.endswith(b"}"):
                homes.setdefault(key, set()).add(batch.partition)
    assert len(homes) == 40
