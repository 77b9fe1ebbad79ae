"""The outbox on a real broker: order, restarts without repetition, dead letters, a full disk."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assets.batch import Outgoing
from assets.condition import Refused, Unavailable
from assets.connection import KafkaConnection
from deploy.wait import until
from sinks._kafka import Reader, shared_producer
from sinks._outbox import Outbox
from sinks._spool import Spool
from sinks._spooled import missing_by_id
from sinks._wait import Interrupted
from sinks.kafka import TopicSpec, ensure_topics
from sources._partition import Stop
from sources.kafka import read_range, watermarks

pytestmark = pytest.mark.slow

MOST = 1 << 22
AWAY = KafkaConnection(bootstrap="127.0.0.1:1")


def letter(name: str) -> Outgoing:
    return Outgoing(0, b"key", name.encode(), name, [("flow", b"ingest")])


@pytest.fixture
def connection(kafka: str) -> KafkaConnection:
    return KafkaConnection(bootstrap=kafka)


@pytest.fixture
def topic(connection: KafkaConnection, unique: Callable[[str], str]) -> str:
    name = unique("letters")
    ensure_topics(connection, [TopicSpec(name=name, partitions=1)])
    return name


def stands(connection: KafkaConnection, topic: str) -> list[str]:
    batches = read_range(connection, topic, watermarks(connection, topic))
    return [value.decode() for batch in batches for value in batch.values if value is not None]


def opened(
    folder: Path, connection: KafkaConnection, topic: str = "", stop: Stop | None = None
) -> tuple[Outbox, Spool]:
    spool = Spool(folder, MOST)
    missing = {topic: missing_by_id(spool, connection, topic, Stop())} if topic else {}
    return Outbox(spool, shared_producer(connection), stop or Stop(), missing), spool


def stopped() -> Stop:
    stop = Stop()
    stop.request()
    return stop


def test_what_an_outage_kept_back_is_sent_first_by_the_next_process(
    connection: KafkaConnection, topic: str, tmp_path: Path
) -> None:
    outbox, spool = opened(tmp_path, AWAY, stop=stopped())
    outbox.write(topic, 0, [letter(f"a{n}") for n in range(2_500)])
    outbox.snapshot()
    assert outbox.waiting
    spool.close()
    outbox, spool = opened(tmp_path, connection, topic, stopped())
    outbox.write(topic, 0, [letter("b")])
    outbox.snapshot()
    assert not outbox.waiting
    assert stands(connection, topic) == [*(f"a{n}" for n in range(2_500)), "b"]


def test_what_kafka_has_without_having_been_heard_is_not_sent_again(
    connection: KafkaConnection, topic: str, tmp_path: Path
) -> None:
    outbox, spool = opened(tmp_path, connection, topic, stopped())
    outbox.write(topic, 0, [letter("a"), letter("b")])
    outbox.snapshot()
    (tmp_path / "checkpoint.json").unlink()
    spool.close()
    outbox, spool = opened(tmp_path, connection, topic, stopped())
    outbox.write(topic, 0, [letter("c")])
    outbox.snapshot()
    spool.close()
    assert stands(connection, topic) == ["a", "b", "c"]


def test_what_kafka_has_is_asked_before_the_flow_runs_because_nobody_waits_for_kafka_then(
    connection: KafkaConnection, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, spool = opened(tmp_path, AWAY, stop=stopped())
    outbox.write(topic, 0, [letter("a"), letter("b")])
    outbox.snapshot()
    spool.close()
    opened(tmp_path / "other", connection)[0].write(topic, 0, [letter("a")])
    until(lambda: stands(connection, topic) == ["a"], 60, "the first letter")
    missing = missing_by_id(Spool(tmp_path, MOST), connection, topic, Stop())

    def away(*_: object) -> None:
        raise AssertionError("asked while the flow runs")

    monkeypatch.setattr(Reader, "watermarks", away)
    assert [record.id for record in missing(0, [letter("a"), letter("b")])] == ["b"]


def test_a_record_that_kafka_refuses_stays_in_the_spool_and_is_named(
    connection: KafkaConnection, topic: str, tmp_path: Path
) -> None:
    outbox, _ = opened(tmp_path, connection, topic, stopped())
    outbox.write(topic, 0, [Outgoing(0, None, os.urandom(2 << 20))])
    with pytest.raises(Refused, match=r"it stays in the spool: change the limits of the topic and start again"):
        outbox.snapshot()


class FullDisk:
    """A disk that takes nothing while `full`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self._write = os.pwrite
        monkeypatch.setattr(os, "pwrite", self._pwrite)

    def _pwrite(self, handle: int, data: bytes, at: int) -> int:
        if self.full:
            self._write(handle, data[: len(data) // 2], at)
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(handle, data, at)


def test_with_a_full_disk_records_go_to_kafka_directly_and_nothing_is_lost(
    connection: KafkaConnection, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("sinks._wait.CALM_S", 0.0)
    disk = FullDisk(monkeypatch)
    outbox, spool = opened(tmp_path, connection, topic)
    outbox.write(topic, 0, [letter("a")])
    outbox.write(topic, 0, [letter("b")])
    disk.full = False
    outbox.snapshot()
    outbox.write(topic, 0, [letter("c")])
    assert spool.next >= 1
    outbox.finish()
    assert stands(connection, topic) == ["a", "b", "c"]
    assert caplog.messages == [
        f'could not write spool "{tmp_path}": the disk is full; ingest now waits for Kafka',
        f'spool "{tmp_path}": there is space on the disk again',
    ]
    spool.close()


def test_what_went_past_a_full_disk_is_the_first_to_be_spooled_when_there_is_space(
    connection: KafkaConnection, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    outbox, spool = opened(tmp_path, KafkaConnection(bootstrap="127.0.0.1:3"))
    outbox.write(topic, 0, [letter("a")])
    outbox.write(topic, 0, [letter("b")])
    assert spool.next == 0
    disk.full = False
    outbox.write(topic, 0, [letter("c")])
    assert spool.next == 3, "a kill now would lose the first and keep the last"
    spool.close()
    outbox, spool = opened(tmp_path, connection, topic, stopped())
    outbox.snapshot()
    assert stands(connection, topic) == ["a", "b", "c"]
    spool.close()


def test_no_snapshot_waits_for_kafka_because_the_disk_was_full_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique: Callable[[str], str]
) -> None:
    disk, stop, topic = FullDisk(monkeypatch), Stop(), unique("away")
    outbox, spool = opened(tmp_path, KafkaConnection(bootstrap="127.0.0.1:4"), stop=stop)
    outbox.write(topic, 0, [letter("a")])
    outbox.snapshot()
    assert spool.next == 0
    disk.full = False
    outbox.snapshot()
    assert spool.next == 1
    stop.request()
    outbox.snapshot()
    assert [block.records for block in spool.pending()] == [[letter("a")]]


def test_a_block_of_which_the_client_took_a_part_is_spooled_as_a_whole_and_sent_once(
    connection: KafkaConnection, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, spool = FullDisk(monkeypatch), Spool(tmp_path, MOST)
    producer = shared_producer(connection)
    outbox, room, produce = Outbox(spool, producer, Stop(), {}), [2], producer.produce

    def one_by_one(*record: Any) -> None:
        if not room[0]:
            disk.full, room[0] = False, 1_000  # there is space again before the client has room
            raise BufferError
        room[0] -= 1
        produce(*record)

    monkeypatch.setattr(producer, "produce", one_by_one)
    outbox.write(topic, 0, [letter(name) for name in "abcd"])
    assert [[r.value for r in block.records] for block in spool.pending()] == [[b"a", b"b", b"c", b"d"]]
    outbox.finish()
    assert stands(connection, topic) == ["a", "b", "c", "d"]
    assert not outbox.waiting
    spool.close()


def test_a_stop_with_a_full_disk_and_kafka_away_says_what_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique: Callable[[str], str]
) -> None:
    FullDisk(monkeypatch)
    outbox, _ = opened(tmp_path, KafkaConnection(bootstrap="127.0.0.1:5"), stop=stopped())
    outbox.write(unique("away"), 0, [letter("a")])
    with pytest.raises(Unavailable, match=r"could not keep 1 blocks .*: they are lost, and the next start tells"):
        outbox.snapshot()


def test_with_a_full_disk_and_kafka_away_a_stop_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique: Callable[[str], str]
) -> None:
    monkeypatch.setattr("sinks._wait.GRACE_S", 0.2)
    monkeypatch.setattr("sinks._outbox.BLOCK_RECORDS", 300_000)
    FullDisk(monkeypatch)
    outbox, _ = opened(tmp_path, KafkaConnection(bootstrap="127.0.0.1:2"), stop=stopped())
    with pytest.raises(Interrupted, match="the disk is full before the stop"):
        outbox.write(unique("away"), 0, [letter("x")] * 300_000)
