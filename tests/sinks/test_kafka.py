"""The stream as a sink, on a real broker: effectively once through kills, stops and outages."""

import random
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from assets.batch import Outgoing, stream_key
from assets.condition import Refused, Unavailable
from assets.connection import KafkaConnection
from assets.stream import ASSET_STREAM
from deploy.ports import free_port
from deploy.processes import Flow
from deploy.stack import External, Stack
from deploy.wait import until
from sinks import _kafka, _kafka_topics, _kafka_way
from sinks._kafka import Reader, shared_producer
from sinks.kafka import StreamSink, TopicSpec, _StreamPartition, ensure_topics, put_table, stream_topics
from sources._kafka import Feed
from sources._partition import Stop
from sources.kafka import check_topic, committed, partition_count, read_range, read_table, watermarks

pytestmark = pytest.mark.slow

PARTITIONS = 4
RECORDS = 30_000
"""Per partition: the flow is busy for a few seconds."""
COPY = str(Path(__file__).with_name("kafka_copy.py"))
PATIENCE_S = 60


@pytest.fixture
def connection(kafka: str) -> KafkaConnection:
    return KafkaConnection(bootstrap=kafka)


@pytest.fixture
def topic(connection: KafkaConnection, unique: Callable[[str], str]) -> str:
    name = unique("out")
    ensure_topics(connection, [TopicSpec(name=name, partitions=PARTITIONS)])
    return name


class Copy:
    """The copying flow, to be started, killed, stopped and judged."""

    def __init__(
        self, connection: KafkaConnection, topics: tuple[str, str], folder: Path, recovery: Path | None
    ) -> None:
        self.connection = connection
        self.topics = topics
        self.folder = folder
        self.recovery = recovery
        self._reader = Consumer({**connection.settings(), "group.id": "tests", "log_level": 0})

    def start(self, arguments: Sequence[str] = (), **more: str) -> Flow:
        env = {"KAFKA_BOOTSTRAP": self.connection.bootstrap, "TOPIC_IN": self.topics[0], "TOPIC_OUT": self.topics[1]}
        flow = Flow(
            "copy", {**env, **more, "RUST_BACKTRACE": "0"}, self.folder / "copy.log", self.recovery, f"{COPY}:flow"
        )
        flow.command += arguments  # the last of an option counts
        flow.start()
        until(lambda: "handlers are installed" in flow.last_lines() or not flow.running, PATIENCE_S, "the flow")
        return flow

    def written(self) -> int:
        try:
            marks = [
                self._reader.get_watermark_offsets(TopicPartition(self.topics[1], p), 1) for p in range(PARTITIONS)
            ]
        except KafkaException:  # the broker is away or just starting
            return 0
        return sum(high for _, high in filter(None, marks))

    def await_written(self, count: int, flow: Flow) -> None:
        def reached() -> bool:
            assert flow.running, flow.crash_report()
            return self.written() >= count

        until(reached, PATIENCE_S, f"{count} records in {self.topics[1]}", every_s=0.01)

    def assert_exact(self, records: int = RECORDS) -> None:
        bounds = watermarks(self.connection, self.topics[1])
        found: dict[int, list[bytes | None]] = {p: [] for p in bounds}
        for batch in read_range(self.connection, self.topics[1], bounds):
            found[batch.partition] += batch.values
        for partition, values in found.items():
            expected = [f"{partition}:{o}:{i}".encode() for o in range(records) for i in range(o % 3)]
            assert len(values) == len(expected)
            assert values == expected


@pytest.fixture(scope="module")
def load(kafka: str) -> str:
    """A topic with records in all partitions."""
    connection = KafkaConnection(bootstrap=kafka)
    name = "sink-load"
    ensure_topics(connection, [TopicSpec(name=name, partitions=PARTITIONS)])
    append(connection, name, RECORDS)
    return name


def append(connection: KafkaConnection, topic: str, count: int) -> None:
    producer = Producer(
        {**connection.settings(), "linger.ms": 20, "log_level": 0, "queue.buffering.max.messages": 1_000_000}
    )
    for i in range(count * PARTITIONS):
        producer.produce(topic, b"%d" % i, b"asset", i % PARTITIONS)
    assert producer.flush(PATIENCE_S) == 0


@pytest.fixture(params=["recovery", "recovery deleted", "without recovery"])
def copy(request: pytest.FixtureRequest, connection: KafkaConnection, load: str, topic: str, tmp_path: Path) -> Copy:
    copy = Copy(connection, (load, topic), tmp_path, None if request.param == "without recovery" else tmp_path / "rec")
    copy.forget = request.param == "recovery deleted"  # type: ignore[attr-defined]
    return copy


TOTAL = PARTITIONS * sum(offset % 3 for offset in range(RECORDS))


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1, 2])
def test_a_kill_at_any_moment_loses_and_repeats_nothing(copy: Copy, seed: int) -> None:
    for target in sorted(random.Random(seed).sample(range(TOTAL), 3)):
        flow = copy.start()
        copy.await_written(target, flow)
        flow.kill()
        if copy.forget and copy.recovery:  # type: ignore[attr-defined]
            shutil.rmtree(copy.recovery)
    flow = copy.start()
    copy.await_written(TOTAL, flow)
    assert flow.stop() == 0
    copy.assert_exact()


@pytest.mark.faults
def test_a_clean_stop_under_load_exits_with_0_and_loses_and_repeats_nothing(copy: Copy) -> None:
    for number, target in ((signal.SIGTERM, TOTAL // 5), (signal.SIGINT, TOTAL // 2), (signal.SIGTERM, TOTAL)):
        flow = copy.start()
        copy.await_written(target, flow)
        flow.signal(number)
        assert flow.wait(PATIENCE_S) == 0, flow.last_lines()
        if copy.forget and copy.recovery:  # type: ignore[attr-defined]
            shutil.rmtree(copy.recovery)
    copy.assert_exact()


@pytest.mark.parametrize("arguments", [("-s", "120"), ("-w", "2")], ids=["long epochs", "two workers"])
def test_a_clean_stop_is_quick_and_exact_with_long_epochs_and_with_two_workers(
    connection: KafkaConnection, load: str, topic: str, tmp_path: Path, arguments: tuple[str, str]
) -> None:
    copy = Copy(connection, (load, topic), tmp_path, tmp_path / "rec")
    for target in (TOTAL // 3, TOTAL):
        flow = copy.start(arguments)
        copy.await_written(target, flow)
        flow.signal(signal.SIGTERM)
        assert flow.wait(PATIENCE_S) == 0, flow.last_lines()
    copy.assert_exact()


@pytest.fixture
def kept(connection: KafkaConnection, load: str, topic: str, tmp_path: Path) -> Copy:
    return Copy(connection, (load, topic), tmp_path, tmp_path / "rec")


def test_progress_is_noted_for_the_group_after_a_snapshot(kept: Copy) -> None:
    flow = kept.start()
    kept.await_written(TOTAL, flow)
    whole = dict.fromkeys(range(PARTITIONS), RECORDS)
    until(
        lambda: committed(kept.connection, kept.topics[1], kept.topics[0]) == whole, PATIENCE_S, "the group's offsets"
    )
    assert flow.stop() == 0


def test_changed_logic_is_refused_instead_of_mixed_with_the_old_output(kept: Copy) -> None:
    kept.recovery = None
    flow = kept.start()
    kept.await_written(TOTAL, flow)
    assert flow.stop() == 0
    flow = kept.start(VERSION="b")
    assert flow.wait(PATIENCE_S) == 1
    log = flow.last_lines(40)
    assert f'output of topic "{kept.topics[1]}" partition' in log
    assert "the logic has changed: rebuild into a new generation" in log
    kept.assert_exact()


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A broker of its own, on a port that nobody else wants while it is down."""
    folder = tmp_path_factory.mktemp("fragile")
    with Stack(folder, External(nats_url="none"), preferred_ports={"kafka": free_port()}) as stack:
        yield stack


@pytest.mark.faults
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_the_flow_waits_for_a_broker_that_is_away_and_goes_on(fragile: Stack, tmp_path: Path, how: str) -> None:
    connection, broker = KafkaConnection(bootstrap=fragile.kafka_bootstrap), fragile.services["kafka"]
    topics = (f"in-{how}", f"out-{how}")
    ensure_topics(connection, [TopicSpec(name=name, partitions=PARTITIONS) for name in topics])
    append(connection, topics[0], RECORDS)
    copy = Copy(connection, topics, tmp_path, tmp_path / "rec")
    flow = copy.start()
    copy.await_written(TOTAL // 4, flow)
    before = len(flow.last_lines(1000))  # a busy machine may be slow to answer the first question
    if how == "killed":
        broker.kill()
        until(lambda: "is unreachable" in flow.last_lines(1000)[before:], PATIENCE_S, "a word on the outage")
        broker.start()
        until(broker.ready, PATIENCE_S, "the broker")
    else:
        broker.signal(signal.SIGSTOP)
        until(lambda: not broker.ready(), PATIENCE_S, "silence")
        broker.signal(signal.SIGCONT)
    append(connection, topics[0], RECORDS)
    expected = PARTITIONS * sum(offset % 3 for offset in range(2 * RECORDS))
    copy.await_written(expected, flow)
    assert flow.stop() == 0
    log = flow.last_lines(1000)[before:]
    assert log.count("is unreachable") == log.count("answers again") <= 3, log  # reading, reading back, writing
    copy.assert_exact(2 * RECORDS)


def outgoing(partition: int, *ids: str, flow: str = "") -> list[Outgoing]:
    headers = [("flow", flow.encode())] if flow else None
    return [Outgoing(partition, b"key", name.encode(), name, headers) for name in ids]


def values_of(connection: KafkaConnection, topic: str, partition: int) -> list[str]:
    bounds = {partition: watermarks(connection, topic)[partition]}
    return [v.decode() for batch in read_range(connection, topic, bounds) for v in batch.values if v is not None]


def test_a_prefix_is_skipped_and_its_position_kept_until_it_is_passed(connection: KafkaConnection, topic: str) -> None:
    sink = StreamSink(connection, topic, Stop(), resume="prefix")
    part = sink.build_part("out", stream_key(2), None)
    part.write_batch([outgoing(2, "a", "b", "c")])
    assert part.snapshot() == 3
    again = sink.build_part("out", stream_key(2), None)
    again.write_batch([outgoing(2, "a")])
    assert again.snapshot() == 1
    once_more = sink.build_part("out", stream_key(2), 1)
    once_more.write_batch([outgoing(2, "b"), outgoing(2, "c", "d")])
    assert once_more.snapshot() == 4
    assert values_of(connection, topic, 2) == ["a", "b", "c", "d"]


def test_own_ids_are_skipped_once_each_among_records_of_others(connection: KafkaConnection, topic: str) -> None:
    mine = StreamSink(connection, topic, Stop(), resume="ids", flow="serve")
    other = StreamSink(connection, topic, Stop(), resume="ids", flow="archive")
    part = mine.build_part("out", stream_key(0), None)
    part.write_batch([outgoing(0, "a", flow="serve")])
    state = part.snapshot()
    stranger = other.build_part("out", stream_key(0), None)
    stranger.write_batch([outgoing(0, "b", "c", flow="archive")])
    stranger.snapshot()
    part.write_batch([outgoing(0, "b", "b", "c", flow="serve")])
    part.snapshot()
    again = mine.build_part("out", stream_key(0), state)
    again.write_batch([outgoing(0, "b", "b", flow="serve")])
    assert again.snapshot() == 5
    again.write_batch([outgoing(0, "c", "d", flow="serve")])
    assert again.snapshot() == 7
    assert values_of(connection, topic, 0) == ["a", "b", "c", "b", "b", "c", "d"]


def test_a_record_that_kafka_refuses_ends_the_flow_and_names_it(connection: KafkaConnection, topic: str) -> None:
    part = StreamSink(connection, topic, Stop(), resume="prefix").build_part("out", stream_key(3), None)
    part.write_batch([[Outgoing(3, None, random.Random(0).randbytes(2 << 20), "large")]])
    with pytest.raises(Refused) as refusal:
        part.snapshot()
    assert str(refusal.value) == (
        f'could not write a record of 2097152 bytes to topic "{topic}" partition 3: '
        "Broker: Message size too large (MSG_SIZE_TOO_LARGE)"
    )


def test_a_record_under_the_key_of_another_partition_is_a_defect(connection: KafkaConnection, topic: str) -> None:
    part = StreamSink(connection, topic, Stop(), resume="prefix").build_part("out", stream_key(3), None)
    with pytest.raises(ValueError, match=r'^record "a" is for partition 2 but came under the key of 3$'):
        part.write_batch([outgoing(2, "a")])


def test_a_topic_that_lost_records_is_not_written_on(connection: KafkaConnection, topic: str) -> None:
    with pytest.raises(Refused) as refusal:
        StreamSink(connection, topic, Stop(), resume="prefix").build_part("out", stream_key(3), 17)
    assert str(refusal.value) == (
        f'could not go on writing topic "{topic}" partition 3 at offset 17: it holds 0 to 0, so it was made anew '
        "or has lost records; delete the recovery store of the flow"
    )


def test_a_missing_topic_is_named(connection: KafkaConnection, kafka: str) -> None:
    with pytest.raises(Refused) as refusal:
        StreamSink(connection, "nowhere", Stop(), resume="prefix").list_parts()
    assert str(refusal.value) == (
        f'could not write topic "nowhere" at kafka at {kafka}: it does not exist; '
        "make it with sinks.kafka.ensure_topics before the flow starts"
    )


def test_a_stop_while_kafka_is_away_gives_up_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kafka, "STOP_PATIENCE_S", 0.2)
    away = KafkaConnection(bootstrap="127.0.0.1:1")
    stop = Stop()
    part = _StreamPartition(shared_producer(away), "any", 0, stop, None, 0)
    part.write_batch([outgoing(0, "a")])
    stop.request()
    with pytest.raises(Unavailable, match=r"^could not write 1 records: kafka at 127.0.0.1:1 has acknowledged nothing"):
        part.snapshot()


def test_topics_are_made_with_the_settings_of_the_stream_and_existing_ones_left_alone(
    connection: KafkaConnection, unique: Callable[[str], str]
) -> None:
    specs = stream_topics(7, partitions=3)
    ensure_topics(connection, specs)
    ensure_topics(connection, stream_topics(7, partitions=5))
    for spec in specs[:3]:
        check_topic(connection, spec.name)
        assert partition_count(connection, spec.name) == partition_count(connection, ASSET_STREAM)
    admin = AdminClient({**connection.settings()})
    views = ConfigResource(ConfigResource.Type.TOPIC, "views")
    assert admin.describe_configs([views])[views].result()["cleanup.policy"].value == "compact"
    table = unique("table")
    ensure_topics(connection, [TopicSpec(name=table, partitions=1, settings=specs[3].settings)])
    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None)):
        put_table(connection, table, key, value)
    assert read_table(connection, table) == {b"a": b"2"}


@pytest.mark.faults
@pytest.mark.parametrize("kind", [Feed, Reader])
def test_a_topic_that_was_denied_is_asked_for_again_at_once(
    connection: KafkaConnection, unique: Callable[[str], str], kind: type[Feed | Reader]
) -> None:
    name = unique("late")
    asking = kind(connection, name)
    with pytest.raises((KafkaException, Unavailable)):
        asking.watermarks(0)  # as a broker answers that is about to stop; it would be believed for minutes
    ensure_topics(connection, [TopicSpec(name=name, partitions=1)])
    until(lambda: answers(asking) == (0, 0), PATIENCE_S, "the topic to be found")


def answers(asking: Feed | Reader) -> tuple[int, int] | None:
    try:
        return asking.watermarks(0)
    except (KafkaException, Unavailable):
        return None


def test_a_producer_that_has_lost_its_way_for_ever_ends_the_flow_when_kafka_answers_others(
    connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kafka, "ASTRAY_S", 0.2)
    monkeypatch.setattr(_kafka_way, "ASK_EVERY_S", 0.2)
    lost = _kafka.SharedProducer(KafkaConnection(bootstrap="127.0.0.1:1"))
    lost.produce("any", b"x", partition=0)
    lost._way = _kafka_way.Way(connection, lost._way._asks[0])
    with pytest.raises(Unavailable, match=r"could not write 1 records: the client does not find the way to kafka at "):
        lost.drain(Stop())


@pytest.mark.faults
def test_a_reader_that_has_lost_its_way_for_ever_goes_on_with_a_new_client(
    connection: KafkaConnection, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kafka, "RENEW_S", 0.5)
    topic = unique("found-again")
    ensure_topics(connection, [TopicSpec(name=topic, partitions=1)])
    producer = Producer(connection.settings())
    producer.produce(topic, b"x", partition=0)
    assert producer.flush(PATIENCE_S) == 0
    reader = _kafka.Reader(connection, topic, Stop())
    settings, reader._consumer = reader._settings, Consumer({**reader._settings, "bootstrap.servers": "127.0.0.1:1"})
    assert reader.watermarks(0) == (0, 1)
    reader._consumer = Consumer({**settings, "bootstrap.servers": "127.0.0.1:1"})
    monkeypatch.setattr(reader, "watermarks", lambda _: (0, 1))
    assert [message.value() for message in reader.read(0, 0, 9)] == [b"x"]


def test_a_flow_waits_until_kafka_has_an_entry_of_a_table_unless_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kafka, "STOP_PATIENCE_S", 0.2)
    monkeypatch.setattr(_kafka_topics, "ANSWER_TIMEOUT_S", 0.1)
    away, stop = KafkaConnection(bootstrap="127.0.0.1:2"), Stop()
    with ThreadPoolExecutor() as threads:
        putting = threads.submit(put_table, away, "any", b"key", b"value", stop)
        with pytest.raises(TimeoutError):
            putting.result(1)
        stop.request()
        with pytest.raises(Unavailable, match="and a stop was asked for; the next start"):
            putting.result(PATIENCE_S)
    with pytest.raises(
        Unavailable, match=r'could not write to topic "any" at kafka at 127\.0\.0\.1:2: no answer within 0\.1'
    ):
        put_table(away, "any", b"key", b"value")
