"""The stream as a source, on a real broker: exact starts, exact ends, nothing skipped in silence."""

import gc
import itertools
import threading
import time
import weakref
from collections.abc import Callable

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main
from confluent_kafka import KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from assets.batch import RawBatch, stream_key
from assets.condition import Refused, Unavailable
from assets.connection import KafkaConnection
from deploy.wait import until
from sinks.kafka import TopicSpec, ensure_topics
from sources import _kafka, _kafka_questions, _kafka_watch
from sources._partition import Stop
from sources.kafka import StreamSource, check_topic, offsets_at, partition_count, read_range, watermarks

pytestmark = pytest.mark.slow

PARTITIONS = 3
PATIENCE_S = 60.0
Make = Callable[..., str]


@pytest.fixture
def connection(kafka: str) -> KafkaConnection:
    return KafkaConnection(bootstrap=kafka)


@pytest.fixture
def make(connection: KafkaConnection, unique: Callable[[str], str]) -> Make:
    """A new topic; `counts` records in each partition, with the offset as value."""

    def make(*counts: int, **settings: str) -> str:
        name = unique("in")
        spec = TopicSpec(name=name, partitions=len(counts))
        if settings:
            spec = TopicSpec(
                name=name, partitions=len(counts), settings={k.replace("_", "."): v for k, v in settings.items()}
            )
        ensure_topics(connection, [spec])
        for partition, count in enumerate(counts):
            append(connection, name, partition, *(b"%d" % i for i in range(count)))
        return name

    return make


def append(connection: KafkaConnection, topic: str, partition: int, *values: bytes | None, **settings: str) -> None:
    producer = Producer(
        {**connection.settings(), "log_level": 0, **{k.replace("_", "."): v for k, v in settings.items()}}
    )
    if "transactional_id" in settings:
        producer.init_transactions()
        producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, b"asset" if value else None, partition)
    if "transactional_id" in settings:
        producer.commit_transaction()
    assert producer.flush(30) == 0


def remove_before(connection: KafkaConnection, topic: str, offset: int) -> None:
    """Remove records of partition 0, as retention does."""
    admin = AdminClient({**connection.settings()})  # an answer comes only while it lives
    end = TopicPartition(topic, 0, offset)
    admin.delete_records([end])[end].result()


def run(source: StreamSource) -> list[tuple[str, RawBatch]]:
    out: list[tuple[str, RawBatch]] = []
    df = Dataflow("test")
    op.output("out", op.input("in", df, source), TestingSink(out))
    run_main(df)
    return out


def records(batches: list[tuple[str, RawBatch]]) -> dict[str, list[bytes | None]]:
    found: dict[str, list[bytes | None]] = {}
    for key, batch in batches:
        assert key == stream_key(batch.partition)
        found.setdefault(key, []).extend(batch.values)
    return found


def assert_seamless(batches: list[tuple[str, RawBatch]], bounds: dict[int, tuple[int, int]]) -> None:
    for partition, (start, end) in bounds.items():
        own = [batch for _, batch in batches if batch.partition == partition]
        assert own[0].first == start
        assert all(one.next == other.first for one, other in itertools.pairwise(own))
        assert own[-1].next == end
        assert [batch.end for batch in own] == [False] * (len(own) - 1) + [True]


def test_bounds_are_read_exactly_and_the_last_batch_says_so(connection: KafkaConnection, make: Make) -> None:
    topic = make(5_000, 10, 7)
    bounds = {0: (100, 4_200), 2: (3, 3)}
    batches = run(StreamSource(connection, topic, Stop(), bounds=bounds, batch_records=500))
    assert records(batches) == {"0000": [b"%d" % i for i in range(100, 4_200)], "0002": []}
    assert_seamless(batches, bounds)


def test_one_busy_partition_among_many_idle_ones_is_read_whole_and_in_order(
    connection: KafkaConnection, make: Make
) -> None:
    topic = make(*[0] * 7, 30_000, *[1] * 8)
    bounds = watermarks(connection, topic)
    batches = run(StreamSource(connection, topic, Stop(), bounds=bounds))
    found = records(batches)
    assert found["0007"] == [b"%d" % i for i in range(30_000)]
    assert [len(found[stream_key(p)]) for p in range(16)] == [*[0] * 7, 30_000, *[1] * 8]
    assert_seamless(batches, bounds)


def test_copies_share_the_partitions_without_rest(connection: KafkaConnection, make: Make) -> None:
    topic = make(4, 4, 4, 4, 4)
    bounds = watermarks(connection, topic)
    parts = [set(records(run(StreamSource(connection, topic, Stop(), copy=f"{i}/2", bounds=bounds)))) for i in (0, 1)]
    assert parts == [{"0000", "0002", "0004"}, {"0001", "0003"}]


def test_offsets_without_records_hold_nothing_up(connection: KafkaConnection, make: Make) -> None:
    topic = make(10)
    append(connection, topic, 0, b"x", b"y", transactional_id=topic)
    # the end of the transaction has an offset of its own, which Kafka writes after it has confirmed the transaction
    until(lambda: watermarks(connection, topic) == {0: (0, 13)}, PATIENCE_S, "the end of the transaction")
    batches = run(StreamSource(connection, topic, Stop(), bounds={0: (8, 13)}))
    assert records(batches) == {"0000": [b"8", b"9", b"x", b"y"]}
    assert_seamless(batches, {0: (8, 13)})


def test_a_null_value_and_a_null_key_are_passed_on(connection: KafkaConnection, make: Make) -> None:
    topic = make(1)
    append(connection, topic, 0, None, b"a")
    (batch,) = read_range(connection, topic, {0: (1, 3)})
    assert (batch.keys, batch.values) == ([None, b"asset"], [None, b"a"])


def test_reading_a_range_ends_when_a_stop_is_asked_for(connection: KafkaConnection, make: Make) -> None:
    topic, stop = make(10), Stop()
    batches = read_range(connection, topic, {0: (0, 10)}, stop)
    stop.request()
    with pytest.raises(Unavailable, match="was stopped before its end; the next start reads it again"):
        list(batches)


def test_a_state_goes_before_bounds(connection: KafkaConnection, make: Make) -> None:
    topic = make(9)
    source = StreamSource(connection, topic, Stop(), bounds={0: (2, 9)})
    part = source.build_part("in", "0000", 7)
    taken: list[tuple[str, RawBatch]] = []
    while not taken:
        taken = part.next_batch()
    assert taken[0][1].values == [b"7", b"8"]
    assert part.snapshot() == 9
    with pytest.raises(StopIteration):
        part.next_batch()
    part.close()


def test_an_offset_that_retention_has_removed_is_refused(connection: KafkaConnection, make: Make) -> None:
    topic = make(50)
    remove_before(connection, topic, 20)
    assert watermarks(connection, topic) == {0: (20, 50)}
    with pytest.raises(Refused) as refusal:
        StreamSource(connection, topic, Stop()).build_part("in", "0000", 5)
    assert str(refusal.value) == (
        f'could not read topic "{topic}" partition 0 from offset 5: the oldest record there is 20: retention or a '
        "deletion has removed 15 records; to begin at the oldest record delete the recovery store of the flow, and "
        "check the topic's retention"
    )


def test_an_offset_removed_while_the_flow_runs_is_refused(connection: KafkaConnection, make: Make) -> None:
    topic = make(50)
    feed = _kafka.Feed(connection, topic)
    feed.open(0, 5, None)
    remove_before(connection, topic, 20)
    feed.close()
    late = _kafka.Feed(connection, topic)
    late.open(0, 5, None)
    with pytest.raises(Refused, match=f'^could not read topic "{topic}" partition 0 from offset 5: '):
        fetch_until_records(late)
    late.close()


def fetch_until_records(feed: _kafka.Feed) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while feed.take(0) is None:
        assert time.monotonic() < deadline
        feed.fetch(0.1)


def test_an_offset_beyond_the_end_is_refused(connection: KafkaConnection, make: Make) -> None:
    topic = make(5)
    with pytest.raises(Refused) as refusal:
        StreamSource(connection, topic, Stop()).build_part("in", "0000", 6)
    assert str(refusal.value) == (
        f'could not read topic "{topic}" partition 0 from offset 6: the topic ends at 5: it was made anew, has lost '
        "records, or this is another cluster; to begin at the oldest record delete the recovery store of the flow, and "
        "check the topic's retention"
    )


def test_a_missing_topic_is_named(connection: KafkaConnection, kafka: str) -> None:
    with pytest.raises(Refused) as refusal:
        partition_count(connection, "nowhere")
    assert str(refusal.value) == (
        f'could not read topic "nowhere" at kafka at {kafka}: Broker: Unknown topic or partition; start the flow that '
        "writes it, or check its name and KAFKA_BOOTSTRAP"
    )


def test_a_command_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kafka_questions, "ANSWER_TIMEOUT_S", 0.2)
    with pytest.raises(Unavailable, match=r"^reading topic \"any\" failed: kafka at 127.0.0.1:1 does not answer: "):
        partition_count(KafkaConnection(bootstrap="127.0.0.1:1"), "any")


def test_an_instant_is_found_by_the_clock_of_kafka(connection: KafkaConnection, make: Make) -> None:
    topic = make(2, 0)
    instant_us = time.time_ns() // 1_000 + 1_000
    while time.time_ns() // 1_000 <= instant_us:
        pass
    append(connection, topic, 0, b"after")
    assert offsets_at(connection, topic, instant_us) == {0: 2, 1: 0}
    assert offsets_at(connection, topic, instant_us - 3_600_000_000) == {0: 0, 1: 0}
    assert offsets_at(connection, topic, instant_us + 3_600_000_000) == {0: 3, 1: 0}


def test_a_topic_with_unsafe_settings_is_refused_with_the_command_that_mends_it(
    connection: KafkaConnection, make: Make, kafka: str
) -> None:
    check_topic(connection, make(0))
    topic = make(0, cleanup_policy="compact", retention_ms="1000")
    with pytest.raises(Refused) as refusal:
        check_topic(connection, topic)
    assert str(refusal.value) == (
        f'could not use topic "{topic}" at kafka at {kafka} as the stream: cleanup.policy is compact: compaction '
        "removes records; retention.ms is 1000: records are removed by age; message.timestamp.type is CreateTime: an "
        "instant of the stream would be a gateway's clock; set it: kafka-configs.sh --alter --entity-type topics "
        f"--entity-name {topic} "
        "--add-config cleanup.policy=delete,retention.ms=-1,message.timestamp.type=LogAppendTime"
    )


def fetch_until(feed: _kafka.Feed, done: Callable[[], bool], what: str) -> None:
    def fetched() -> bool:
        feed.fetch(0.1)
        return done()

    until(fetched, PATIENCE_S, what)


def offsets_until(feed: _kafka.Feed, end: int) -> list[int]:
    """The offsets of partition 0 that a feed brings, up to an end."""
    found: list[int] = []

    def ended() -> bool:
        while batch := feed.take(0):
            found.extend(batch.offsets)
        return bool(found) and found[-1] + 1 >= end

    fetch_until(feed, ended, "the records")
    return found


@pytest.mark.parametrize("how", ["paused", "forgotten"])
def test_a_partition_that_the_client_does_not_fetch_any_more_is_read_on(
    connection: KafkaConnection,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    monkeypatch.setattr(_kafka_watch, "LOOK_S", 0.3)
    topic = make(20, 0)
    feed = _kafka.Feed(connection, topic)
    feed.open(0, 0, None)
    feed.open(1, 0, None)
    assert offsets_until(feed, 20) == list(range(20))
    if how == "paused":
        feed._consumer.pause([TopicPartition(topic, 0)])
    else:
        feed._consumer.incremental_unassign([TopicPartition(topic, 0)])
    append(connection, topic, 0, *(b"x" for _ in range(15)))
    assert offsets_until(feed, 35) == list(range(20, 35))
    append(connection, topic, 0, b"y")
    assert offsets_until(feed, 36) == [35]
    feed.close()
    said = [record.getMessage() for record in caplog.records if "a new client" in record.getMessage()]
    assert said == [
        f'partition 0 of topic "{topic}" at {feed.server} ends at 35, but nothing came after 20; a new client reads on'
    ]


def test_a_client_that_has_lost_its_way_to_kafka_is_replaced(
    connection: KafkaConnection, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_kafka_questions, "RENEW_S", (0.5, 60.0))
    topic = make(20, 0)
    feed = _kafka.Feed(KafkaConnection(bootstrap="127.0.0.1:1"), topic)
    feed.open(0, 0, None)
    feed.open(1, 0, None)
    fetch_until(feed, lambda: "is unreachable" in caplog.text, "the word that it is away")
    feed._make = _kafka.Feed(connection, topic)._make
    assert offsets_until(feed, 20) == list(range(20))
    fetch_until(feed, lambda: "answers again" in caplog.text, "the word that it is back")
    feed.close()
    assert [caplog.text.count(words) for words in ("is unreachable", "answers again")] == [1, 1]


def test_a_question_finds_an_answer_though_the_client_has_lost_its_way(
    connection: KafkaConnection, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kafka_questions, "RENEW_S", (0.5, 60.0))
    topic = make(0, 0)
    feed = _kafka.Feed(KafkaConnection(bootstrap="127.0.0.1:1"), topic)
    feed._make = _kafka.Feed(connection, topic)._make
    assert feed.wait_for(feed.partition_count, Stop()) == 2
    feed.close()


def test_records_that_had_come_before_the_loss_are_no_answer(
    connection: KafkaConnection, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    topic = make(3_000)
    feed = _kafka.Feed(connection, topic, batch_records=100)
    feed.open(0, 0, None)
    fetch_until(feed, lambda: feed._batches.positions[0] > 0, "the first records")
    gone = _kafka.Feed(KafkaConnection(bootstrap="127.0.0.1:1"), topic)
    asked = feed.exists
    monkeypatch.setattr(feed, "exists", gone.exists)  # a probe finds nothing
    feed._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    fetch_until(feed, lambda: feed._batches.positions[0] == 3_000, "the records that wait")
    assert "answers again" not in caplog.text
    monkeypatch.setattr(feed, "exists", asked)
    fetch_until(feed, lambda: "answers again" in caplog.text, "the word that it is back")
    feed.close()
    gone.close()


def test_a_long_outage_leaves_no_clients_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kafka_questions, "RENEW_S", (0.1, 0.1))
    monkeypatch.setattr(_kafka, "PROBE_INTERVAL_S", 0.02)
    feed = _kafka.Feed(KafkaConnection(bootstrap="127.0.0.1:1"), "any", group="any")
    feed.open(0, 0, None)
    fetch_until(feed, lambda: feed._condition.away, "the loss")

    def tenth() -> bool:
        feed.note(0, 7)
        return feed._clients > 10

    fetch_until(feed, tenth, "ten clients")
    until(lambda: [t.name for t in threading.enumerate()].count("former client") <= 1, 40, "former clients to close")
    feed.close()


def test_a_feed_that_nobody_needs_leaves_no_client_behind_for_the_collector(connection: KafkaConnection) -> None:
    collected = gc.isenabled()
    gc.disable()
    try:
        feed = _kafka.Feed(connection, "topic")
        gone = weakref.ref(feed)
        feed.close()
        del feed
        assert gone() is None
    finally:
        if collected:
            gc.enable()
