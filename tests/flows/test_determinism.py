"""The same stream gives the same view: with 1, 2 or 4 copies, with two workers, in any batches, cut or whole."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from confluent_kafka import Producer

from assets.connection import KafkaConnection
from assets.frame import Flag, Frame, Tick, decode_event, encode_frame, encode_tick
from assets.stream import ASSET_STREAM, partition_of
from deploy.stack import Stack
from flows import derive
from flows._site import Site
from sinks.kafka import StreamSink, TopicSpec, ensure_topics, stream_topics
from sources._partition import Stop
from sources.kafka import StreamSource, read_range, watermarks
from tests.streams import S, definition, frame, tick

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PARTITIONS = 12
RULES = definition(
    overheat={"rule": "alarm", "item": "temperature", "above": 90.0, "clear_below": 80.0, "on_delay": 3 * S},
    running={"rule": "durations", "item": "state"},
    availability={"rule": "availability"},
)
OTHERS = definition(overheat={"rule": "alarm", "item": "temperature", "above": 70.0})
Outputs = dict[tuple[str, str], list[bytes]]


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
            rules = chance.choice([RULES, OTHERS])
            yield defined(frame(now, ("_model", rules.value()), asset=asset), rules.model)
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


def write(connection: KafkaConnection, records: Iterator[Frame | Tick]) -> None:
    """Frames to the partition of their asset, ticks to all."""
    producer = Producer({"bootstrap.servers": connection.bootstrap})
    for record in records:
        if isinstance(record, Frame):
            home = partition_of(record.asset, PARTITIONS)
            producer.produce(ASSET_STREAM, encode_frame(record), record.asset.encode(), home)
        else:
            for partition in range(PARTITIONS):
                producer.produce(ASSET_STREAM, encode_tick(record), None, partition)
        producer.poll(0)
    producer.flush()


@pytest.fixture(scope="module")
def site(servers: Stack, data: Path) -> Site:
    """A site whose stream is random but the same each time."""
    made = replace(Site.from_environment(servers.environment), data=data)
    ensure_topics(made.kafka, stream_topics(1))
    write(made.kafka, random_stream(7, 6000))
    return made


@pytest.fixture(scope="module")
def whole(site: Site, new_topic: Callable[[], str]) -> Outputs:
    """What one copy with one worker derives in one piece."""
    topic = new_topic()
    run(site, topic)
    return outputs(site, topic)


@pytest.fixture(scope="module")
def new_topic(site: Site) -> Callable[[], str]:
    """Topics for derived events, one after the other."""
    count = iter(range(100))

    def made() -> str:
        name = f"derived-{next(count)}"
        ensure_topics(site.kafka, [TopicSpec(name=name, partitions=PARTITIONS)])
        return name

    return made


def run(
    site: Site,
    topic: str,
    *,
    copy: str = "0/1",
    workers: int = 1,
    batch_records: int = 4000,
    share: float = 1.0,
    recovery: Path | None = None,
) -> None:
    """Derive the stream (the first `share` of each partition) into a topic."""
    stop = Stop()
    ends = {
        p: (low, low + int((high - low) * share)) for p, (low, high) in watermarks(site.kafka, ASSET_STREAM).items()
    }
    stream = StreamSource(site.kafka, ASSET_STREAM, stop, copy=copy, bounds=ends, batch_records=batch_records)
    letters = StreamSink(site.kafka, "dead-letters", stop, resume="ids", flow="derive")
    flow = derive.build(PARTITIONS, stream, StreamSink(site.kafka, topic, stop, resume="prefix"), letters)
    store = None if recovery is None else RecoveryConfig(str(recovery), backup_interval=timedelta(0))
    cli_main(flow, workers_per_process=workers, recovery_config=store, epoch_interval=timedelta(milliseconds=200))


def outputs(site: Site, topic: str) -> Outputs:
    """The records of a topic by (asset, metric), in order."""
    found: Outputs = {}
    for batch in read_range(site.kafka, topic, dict(watermarks(site.kafka, topic))):
        for value in batch.values:
            assert value is not None
            event = decode_event(value)
            found.setdefault((event.asset, event.metric), []).append(value)
    return found


def test_the_stream_is_worth_the_test(whole: Outputs) -> None:
    assert {metric for _, metric in whole} == {"overheat", "running", "availability"}
    assert len(whole) > 100
    assert sum(map(len, whole.values())) > 1000


@pytest.mark.parametrize("copies", [2, 4])
def test_copies_derive_the_same(site: Site, whole: Outputs, new_topic: Callable[[], str], copies: int) -> None:
    topic = new_topic()
    for i in range(copies):
        run(site, topic, copy=f"{i}/{copies}")
    assert outputs(site, topic) == whole


def test_two_workers_derive_the_same(site: Site, whole: Outputs, new_topic: Callable[[], str]) -> None:
    topic = new_topic()
    run(site, topic, workers=2)
    assert outputs(site, topic) == whole


@pytest.mark.parametrize("batch_records", [13, 700])
def test_batches_of_any_size_derive_the_same(
    site: Site, whole: Outputs, new_topic: Callable[[], str], batch_records: int
) -> None:
    topic = new_topic()
    run(site, topic, batch_records=batch_records)
    assert outputs(site, topic) == whole


def test_a_run_anew_without_a_store_adds_nothing(site: Site, whole: Outputs, new_topic: Callable[[], str]) -> None:
    topic = new_topic()
    run(site, topic, share=0.4)
    run(site, topic)
    run(site, topic)
    assert outputs(site, topic) == whole


def test_a_stream_read_to_a_bound_and_then_on_from_the_store_derives_the_same(
    site: Site, whole: Outputs, new_topic: Callable[[], str], tmp_path: Path
) -> None:
    topic = new_topic()
    init_db_dir(tmp_path, 1)
    for share in (0.2, 0.5, 0.5, 1.0):
        run(site, topic, share=share, recovery=tmp_path)
    assert outputs(site, topic) == whole


def test_every_asset_lives_in_one_partition(site: Site) -> None:
    homes: dict[bytes, set[int]] = {}
    for batch in read_range(site.kafka, ASSET_STREAM, dict(watermarks(site.kafka, ASSET_STREAM))):
        for key in batch.keys:
            if key is not None:
                homes.setdefault(key, set()).add(batch.partition)
    assert len(homes) == 40
    assert all(len(where) == 1 for where in homes.values())
