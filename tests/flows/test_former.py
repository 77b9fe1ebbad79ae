"""What earlier runs of a gateway left: other numbers of copies, and tails that are far back."""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from assets.batch import Outgoing, RawBatch
from assets.condition import Refused, Unavailable
from assets.connection import KafkaConnection
from assets.frame import Frame, Tick, encode_frame, encode_tick
from deploy.wait import until
from flows import _former
from flows._former import in_turn, read_tails, send_former
from flows._searched import Searched
from flows._site import Site
from operators._tails import Tails
from sinks._kafka import shared_producer
from sinks._spool import Block, Checkpoint, Spool
from sinks.kafka import TopicSpec, ensure_topics
from sources._partition import Stop
from sources.kafka import read_range, watermarks
from tests.streams import S, frame, tick


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with nothing but its data folder, for a gateway "gw-1"."""
    return replace(Site.from_environment({}), data=tmp_path)


def left(site: Site, gateway: str, *records: Outgoing, topic: str = "asset-stream") -> Spool:
    """The spool of a gateway with records that Kafka does not have."""
    spool = Spool(site.data / "spool" / gateway, site.spool_bytes)
    for record in records:
        spool.append(Block(topic, record.partition, [record]))
    return spool


def written(record: Frame | Tick) -> Outgoing:
    """A record of partition 0."""
    if isinstance(record, Frame):
        return Outgoing(0, record.asset.encode(), encode_frame(record))
    return Outgoing(0, None, encode_tick(record))


def test_a_copy_of_another_number_that_still_runs_is_refused(site: Site) -> None:
    running = left(site, "gw-1-2-of-3")
    with pytest.raises(Refused, match="another process uses it"):
        send_former(site, 2, 12)
    running.close()


@pytest.mark.parametrize("name", ["gw-1-1-of-2", "gw-10", "gw-1-north", "gw-1-2"])
def test_its_own_spools_and_those_of_other_gateways_are_left_alone(site: Site, name: str) -> None:
    running = left(site, name, Outgoing(3, b"a", b"{}"))
    send_former(site, 2, 12)
    assert running.folder.exists()
    running.close()


def test_an_empty_spool_of_a_former_copy_goes(site: Site) -> None:
    former = left(site, "gw-1")
    former.close()
    send_former(site, 2, 12)
    assert not former.folder.exists()


def test_nobody_can_begin_to_use_a_spool_that_is_being_deleted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    left(site, "gw-1").close()
    remove = shutil.rmtree

    def another_process(folder: Path) -> None:
        with pytest.raises(Refused, match="another process uses it"):
            Spool(folder, site.spool_bytes)
        remove(folder)

    monkeypatch.setattr(shutil, "rmtree", another_process)
    send_former(site, 2, 12)
    assert not (site.data / "spool" / "gw-1").exists()


def test_copies_start_in_turn_and_one_that_waits_hears_a_stop(site: Site) -> None:
    started = threading.Event()

    def second() -> None:
        with in_turn(site):
            started.set()

    with in_turn(site):
        thread = threading.Thread(target=second)
        thread.start()
        assert not started.wait(0.2)
    assert started.wait(60)
    thread.join()
    site.stop.request()
    with in_turn(site), pytest.raises(Unavailable, match='gateway "gw-1" was stopped before'), in_turn(site):
        pass


class Stream:
    """A stream of one partition on a real broker, in the place of the one all flows share."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self.connection, self.topic = connection, topic
        ensure_topics(connection, [TopicSpec(name=topic, partitions=1)])

    def write(self, *records: Frame | Tick) -> int:
        """Append records; returns Kafka's clock (us) at the last one."""
        at: list[int] = []
        producer = shared_producer(self.connection)
        for record in map(written, records):
            producer.produce(
                self.topic, record.value, record.key, 0, lambda _, message: at.append(message.timestamp()[1])
            )
        producer.drain_within(60)
        assert len(at) == len(records)
        return at[-1] * 1_000

    def values(self) -> list[bytes | None]:
        """All that stands there."""
        batches = read_range(self.connection, self.topic, watermarks(self.connection, self.topic))
        return [value for batch in batches for value in batch.values]

    def pass_by(self, since: int, span_us: int) -> None:
        """Let another gateway write until so much time has gone by."""
        until(lambda: self.write(tick(1, "s", gateway="gw-2")) > since + span_us, 60, "time to pass", every_s=0.05)


@pytest.fixture
def stream(kafka: str, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Stream:
    topic = unique("asset-stream")
    monkeypatch.setattr(_former, "ASSET_STREAM", topic)
    return Stream(KafkaConnection(bootstrap=kafka), topic)


@pytest.mark.slow
def test_what_former_copies_spooled_is_sent_before_another_number_starts(stream: Stream, site: Site) -> None:
    site = replace(site, kafka=stream.connection)
    one = frame(1, ("x", 1), gateway="gw-1-0-of-3", run=5)
    two = frame(2, ("x", 2), gateway="gw-1-0-of-3", run=5)
    two.seq = 2
    stream.write(one)
    former = left(site, "gw-1-0-of-3", written(one), written(two), topic=stream.topic)
    former.close()
    send_former(site, 2, 1)
    assert stream.values() == [encode_frame(one), encode_frame(two)]
    assert not former.folder.exists()
    tails = read_tails(stream.connection, Tails("gw-1"), Spool(site.data / "own", 1 << 20), 1)
    assert tails.last["press-01", "x"].value == 2
    assert (tails.run, tails.mark("s", {0})) == (5, S)


@pytest.mark.slow
def test_a_gateway_that_lost_its_spool_finds_its_tail_however_long_ago_it_wrote(
    stream: Stream, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_former, "LOOK_BACK_US", 200_000)
    monkeypatch.setattr(_former, "FIRST_SPAN_US", 50_000)
    wrote = stream.write(frame(9, ("x", 1), run=3), tick(10, "s", run=3))
    stream.pass_by(wrote, 2_000_000)
    tails = read_tails(stream.connection, Tails("gw-1"), Spool(site.data / "own", 1 << 20), 1)
    assert tails.last["press-01", "x"].value == 1
    assert (tails.run, tails.mark("s", {0})) == (3, 9 * S)
    assert [m for m in caplog.messages if "looking back further" in m] == [
        'found too little of gateway "gw-1" in the last 100ms of the stream; looking back further'
    ]


@pytest.mark.slow
def test_a_source_that_no_look_finds_is_searched_for_to_the_beginning_of_the_stream(
    stream: Stream, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_former, "LOOK_BACK_US", 20_000)
    monkeypatch.setattr(_former, "FIRST_SPAN_US", 5_000)
    wrote = stream.write(tick(10, "s", gateway="gw-1-0-of-2", run=3))
    stream.pass_by(wrote, 200_000)
    stream.write(tick(20, "m", gateway="gw-1-1-of-2", run=4))
    spool = Spool(site.data / "own", 1 << 20)
    near = read_tails(stream.connection, Tails("gw-1"), spool, 1, lambda t: t.heard("m"))
    assert (near.mark("m", {0}), near.mark("s", {0})) == (20 * S, None)
    far = read_tails(stream.connection, Tails("gw-1"), spool, 1, lambda t: t.heard("m") and t.heard("s"))
    assert (far.mark("m", {0}), far.mark("s", {0})) == (20 * S, 10 * S)
    none = read_tails(stream.connection, Tails("gw-3"), spool, 1)
    assert (none.names, none.run) == (set(), 0)


class Offsets:
    """A stream of one partition with a record per second, in the place of Kafka; some of them are ticks of "gw-1"."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ticks: Mapping[int, Tick], end: int = 100_000) -> None:
        self.ticks, self.end, self.read = ticks, end, 0
        known = {
            "newest_us": lambda *_: end * S,
            "watermarks": lambda *_: {0: (0, end)},
            "offsets_at": lambda *asked: {0: min(end, -(-asked[2] // S))},
            "read_range": self._read,
        }
        for name, answer in known.items():
            monkeypatch.setattr(_former, name, answer)

    def _read(
        self, _: object, topic: str, bounds: Mapping[int, tuple[int, int]], stop: Stop | None = None
    ) -> Iterator[RawBatch]:
        for start, end in bounds.values():
            self.read += end - start
            for at in (at for at in sorted(self.ticks) if start <= at < end):
                yield RawBatch(topic, 0, at, at + 1, [at], [None], [encode_tick(self.ticks[at])])


CONNECTION = KafkaConnection(bootstrap="127.0.0.1:1")


def test_a_copy_with_a_checkpoint_looks_further_back_for_a_source_that_was_another_copys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ticks = {3: tick(3, "t", gateway="gw-1-1-of-2"), 99_990: tick(99_990, "s", gateway="gw-1-0-of-2")}
    Offsets(monkeypatch, ticks)
    spool = Spool(tmp_path, 1 << 20)
    spool.save(Checkpoint(99_995 * S, {"asset-stream/0": (0, 99_996)}))
    tails = read_tails(CONNECTION, Tails("gw-1"), spool, 1, lambda found: found.heard("s") and found.heard("t"))
    assert (tails.mark("s", {0}), tails.mark("t", {0})) == (99_990 * S, 3 * S)


def test_a_source_nobody_ever_heard_is_searched_for_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream = Offsets(monkeypatch, {99_990: tick(99_990, "s")})
    spool = Spool(tmp_path / "gw-1", 1 << 20)
    spool.save(Checkpoint(99_995 * S, {"asset-stream/0": (0, 99_996)}))

    def start() -> int:
        stream.read = 0
        searched = Searched(tmp_path / "known", ["s", "never"], stream.end * S)
        enough, since = (lambda found: found.heard("never")), searched.since(["never"])
        tails = read_tails(CONNECTION, Tails("gw-1"), spool, 1, enough, searched=searched, since=since)
        assert tails.heard("s")
        return stream.read

    assert start() > stream.end
    assert start() < stream.end // 10


def test_a_search_through_the_whole_stream_hears_a_stop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Offsets(monkeypatch, {})
    stop = Stop()
    spool = Spool(tmp_path, 1 << 20)
    heard: list[Stop | None] = []

    def nothing(*asked: Stop) -> Iterator[RawBatch]:
        heard.append(asked[3])
        return iter(())

    monkeypatch.setattr(_former, "read_range", nothing)
    read_tails(CONNECTION, Tails("gw-1"), spool, 1, stop=stop)
    assert len(heard) > 10, "a minute, two, four and so on, and then the tail"
    assert set(heard) == {stop}
