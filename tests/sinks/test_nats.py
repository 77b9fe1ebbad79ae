"""Live values on a real nats-server: newest wins, a server killed in the middle, a store that was lost, stops."""

import asyncio
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client

from assets.batch import LiveValue
from assets.connection import NatsConnection
from deploy.nats import Nats
from deploy.wait import until
from sinks import _wait
from sinks._jetstream import connect, host
from sinks._wait import Interrupted
from sinks.nats import Last, LiveSink, StoreLostError, find_last_values, last_values, subscribe_last
from sources._partition import Stop

pytestmark = pytest.mark.slow

PATH = "assets.acme.hamburg.forming.line-1"


@pytest.fixture
def connection(nats_url: str) -> NatsConnection:
    return NatsConnection(url=nats_url)


class Rig:
    """One stream of its own; `fold` is what it must hold."""

    def __init__(self, connection: NatsConnection, name: str) -> None:
        self.connection = connection
        self.name = name
        self.prefix = f"{name}."
        self.stop = Stop()
        self.fold: dict[str, int] = {}

    def new_sink(self, copy: str = "0/1") -> LiveSink:
        return LiveSink(self.connection, self.stop, stream=self.name, prefix=self.prefix, copy=copy)

    def part(self, state: bytes | None = None, partition: int = 0) -> "Part":
        self.sink = self.new_sink()
        return Part(self, self.sink.build_part("live", f"{partition:04}", state))

    def reached(self) -> tuple[str, int]:
        sink = self.new_sink()
        part = sink.build_part("live", "0999", None)
        try:
            return sink.reached()
        finally:
            part.close()

    def found(self) -> dict[str, bytes]:
        return asyncio.run(find_last_values(self.connection, self.name)) or {}

    def held(self) -> dict[str, int]:
        last = asyncio.run(last_values(self.connection, self.name))
        return {subject.removeprefix(self.prefix): json.loads(one.payload)["value"] for subject, one in last.items()}

    async def delete(self) -> None:
        async with connect(self.connection) as client:
            await client.jetstream().delete_stream(self.name)

    async def purge(self) -> None:
        async with connect(self.connection) as client:
            await client.jetstream().purge_stream(self.name)


class Part:
    """One partition of the sink, fed with numbers."""

    def __init__(self, rig: Rig, inner: object) -> None:
        self.rig = rig
        self.inner = inner

    def write(self, first: int, count: int, subjects: int = 50) -> None:
        values = [live(offset, offset % subjects) for offset in range(first, first + count)]
        self.rig.fold |= {value.subject: value.offset for value in values}
        self.inner.write_batch([values])  # type: ignore[attr-defined]

    def snapshot(self) -> bytes:
        state: bytes = self.inner.snapshot()  # type: ignore[attr-defined]
        return state

    def close(self) -> None:
        self.inner.close()  # type: ignore[attr-defined]


def live(offset: int, item: int, value: int | None = None, partition: int = 0, index: int = 0) -> LiveValue:
    payload = {"value": offset if value is None else value, "origin": [partition, offset, index]}
    return LiveValue(f"{PATH}.press-01.item-{item}", json.dumps(payload).encode(), partition, offset, index)


@pytest.fixture
def rig(connection: NatsConnection, unique: Callable[[str], str]) -> Rig:
    return Rig(connection, unique("live"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Nats]:
    """A nats-server of our own, to be killed."""
    nats = Nats(tmp_path / "nats", preferred_port=0)
    nats.start()
    until(nats.ready, 20, "nats-server")
    yield nats
    nats.stop()


def test_the_store_holds_the_newest_value_of_every_subject(rig: Rig) -> None:
    part = rig.part()
    for first in range(0, 5_000, 500):
        part.write(first, 500)
    part.snapshot()
    part.close()
    assert rig.held() == rig.fold


def test_a_replay_after_a_crash_never_shows_an_older_value(rig: Rig) -> None:
    part = rig.part()
    part.write(0, 100)
    state = part.snapshot()
    part.write(100, 100)
    part.snapshot()
    part.close()
    before = asyncio.run(last_values(rig.connection, rig.name))
    for resume in (state, None):
        part = rig.part(resume)
        part.write(0 if resume is None else 100, 100)
        part.snapshot()
        part.close()
        assert asyncio.run(last_values(rig.connection, rig.name)) == before
        rig.fold = {subject: json.loads(one.payload)["value"] for subject, one in before.items()}


def test_what_is_newer_than_the_store_is_published_after_a_replay(rig: Rig) -> None:
    part = rig.part()
    part.write(0, 75)
    part.snapshot()
    part.close()
    part = rig.part()
    part.write(0, 200)
    part.snapshot()
    part.close()
    assert rig.held() == rig.fold


def test_a_server_killed_and_started_again_ends_with_the_newest_values(
    server: Nats, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sinks")
    rig = Rig(NatsConnection(url=server.address), "penstock")
    part = rig.part()
    for round_ in range(3):
        for first in range(round_ * 9_000, (round_ + 1) * 9_000, 300):
            part.write(first, 300, subjects=700)
            if first % 9_000 == 4_500:
                server.kill()
                server.start()
        part.snapshot()
    part.close()
    assert rig.held() == rig.fold
    assert {message.split(":")[0] for message in caplog.messages} <= {"lost NATS at 127.0.0.1", "NATS at 127.0.0.1"}
    assert [message.endswith("is back") for message in caplog.messages] == [False, True] * 3


def test_while_the_server_is_away_the_flow_waits_and_a_stop_ends_the_wait(
    server: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_wait, "GRACE_S", 0.1)
    rig = Rig(NatsConnection(url=server.address), "penstock")
    part = rig.part()
    part.write(0, 10)
    part.snapshot()
    server.kill()
    part.write(10, 30_000)
    rig.stop.request()
    with pytest.raises(Interrupted) as error:
        part.write(30_010, 10)
    assert str(error.value) == (
        f"could not publish live values to NATS at {host(rig.connection)} before the stop; "
        "it is done again at the next start"
    )
    with pytest.raises(Interrupted):
        part.snapshot()
    part.close()


def test_a_stop_during_the_start_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wait, "GRACE_S", 0.1)
    rig = Rig(NatsConnection(url="nats://127.0.0.1:1"), "penstock")
    rig.stop.request()
    with pytest.raises(Interrupted):
        rig.part()


@pytest.mark.parametrize("loss", ["delete", "purge"])
def test_a_store_that_was_lost_while_nobody_ran_has_another_id(rig: Rig, loss: str) -> None:
    part = rig.part()
    part.write(0, 100)
    state = part.snapshot()
    before = rig.reached()
    part.close()
    assert rig.reached() >= before
    asyncio.run(getattr(rig, loss)())
    assert rig.reached()[0] != before[0]
    part = rig.part(state)
    part.write(0, 100)
    part.snapshot()
    part.close()
    assert rig.held() == rig.fold


@pytest.mark.parametrize("loss", ["delete", "purge"])
def test_a_store_lost_under_a_running_flow_gets_all_newest_values_again(
    rig: Rig, loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    part = rig.part()
    part.write(0, 100)
    part.snapshot()
    before = rig.reached()
    asyncio.run(getattr(rig, loss)())
    part.write(100, 10)
    until(lambda: rig.sink.reached()[0] != before[0], 20, "the loss to be noticed and mended")
    part.write(110, 5)
    part.snapshot()
    part.close()
    assert rig.held() == rig.fold
    told = [message for message in caplog.messages if "emptied or made anew" in message]
    where = f'JetStream stream "{rig.name}" at {host(rig.connection)}'
    assert told == [f"{where} was emptied or made anew; publishing all 50 newest values again"]


def test_a_server_that_comes_back_with_an_empty_store_gets_all_newest_values_again(server: Nats) -> None:
    rig = Rig(NatsConnection(url=server.address), "penstock")
    part = rig.part()
    part.write(0, 9_000, subjects=3_000)
    part.snapshot()
    server.kill()
    shutil.rmtree(server.data)
    server.start()
    part.write(9_000, 600, subjects=700)
    part.snapshot()
    assert rig.sink.reached()[1] > 0
    until(lambda: rig.held() == rig.fold, 20, "all values")
    part.close()


def test_a_store_that_lost_its_newest_messages_is_told_and_then_filled_again(rig: Rig) -> None:
    part = rig.part()
    part.write(0, 100)
    state = part.snapshot()
    store, seq = rig.reached()
    part.close()
    newer = msgspec.msgpack.encode((2, store, seq + 7))
    with pytest.raises(StoreLostError) as error:
        rig.part(newer)
    assert str(error.value) == (
        f'JetStream stream "{rig.name}" at {host(rig.connection)} has lost its newest 7 messages; '
        "start the flow again: it will read the stream from its oldest record"
    )
    assert rig.reached()[0] != store
    rig.part(newer).close()
    rig.part(state).close()


def end(offset: int, subject: str, moved_to: str | None = None) -> LiveValue:
    return LiveValue(subject, b"", 0, offset, 0, moved_to)


def test_an_end_removes_subjects_and_a_move_takes_their_values_along(rig: Rig) -> None:
    part = rig.part()
    messages = [live(0, 0), live(1, 1), end(2, f"{PATH}.press-01.", f"{PATH}.press-02."), live(3, 1)]
    for _ in range(2):
        part.inner.write_batch([messages])  # type: ignore[attr-defined]
        part.snapshot()
        moved = {f"{PATH}.press-02.item-0": 0, f"{PATH}.press-02.item-1": 1, f"{PATH}.press-01.item-1": 3}
        assert rig.held() == moved
        part.close()
        part = rig.part()
    part.inner.write_batch([[end(4, f"{PATH}.press-02."), end(5, "no such..")]])  # type: ignore[attr-defined]
    part.snapshot()
    part.close()
    assert rig.held() == {f"{PATH}.press-01.item-1": 3}


def test_what_has_ended_does_not_come_back_with_a_killed_server(server: Nats) -> None:
    rig = Rig(NatsConnection(url=server.address), "penstock")
    part = rig.part()
    part.write(0, 100)
    part.inner.write_batch([[end(100, f"{PATH}.press-01.", f"{PATH}.press-02.")]])  # type: ignore[attr-defined]
    part.snapshot()
    server.kill()
    server.start()
    part.inner.write_batch([[live(101, 0)]])  # type: ignore[attr-defined]
    part.snapshot()
    part.close()
    held = rig.held()
    assert len(held) == 51
    assert [subject for subject in held if "press-01" in subject] == [live(101, 0).subject]


def test_a_copy_repeats_its_own_partitions_only(rig: Rig) -> None:
    one, other = rig.new_sink("0/2"), rig.new_sink("1/2")
    parts = [one.build_part("live", "0000", None), other.build_part("live", "0001", None)]
    for partition, part in enumerate(parts):
        part.write_batch([[live(5, partition, partition=partition)]])
        part.snapshot()
    parts[0].write_batch([[live(6, 0)]])
    parts[0].snapshot()
    asyncio.run(rig.delete())
    until(lambda: len(rig.found()) == 2, 20, "both copies to fill the store again")
    for part in parts:
        part.close()
    assert rig.held() == {live(6, 0).subject: 6, live(5, 1).subject: 5}


def test_what_no_server_takes_is_left_out_and_the_rest_arrives(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    large = LiveValue(f"{PATH}.large", b" " * (9 << 20), 0, 1, 0)
    malformed = LiveValue(f"{PATH}.with space", b"{}", 0, 2, 0)
    part = rig.part()
    part.inner.write_batch([[live(0, 0), large, malformed, live(3, 1)]])  # type: ignore[attr-defined]
    part.snapshot()
    part.close()
    assert set(rig.held().values()) == {0, 3}
    assert [message for message in caplog.messages if "left out" in message] == [
        f'could not publish 1 messages, first "{PATH}.large": the server takes 8388608 bytes at most; left out',
        f'could not publish 1 messages, first "{PATH}.with space": the subject is malformed; left out',
    ]


def test_messages_that_a_server_lost_are_sent_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = Client.publish, iter(range(100))

    async def publish(client: Client, subject: str, payload: bytes = b"", **more: Any) -> None:
        if subject.startswith(rig.prefix) and not more and 3 <= next(calls, 100) < 6:
            return
        await real(client, subject, payload, **more)

    part = rig.part()
    part.write(0, 1)
    part.snapshot()
    monkeypatch.setattr(Client, "publish", publish)
    part.write(1, 50)
    part.snapshot()
    part.close()
    assert rig.held() == rig.fold
    where = host(rig.connection)
    assert caplog.messages == [f"NATS at {where} lost 3 of 50 messages; sending them again"]


def test_partitions_share_a_stream_and_read_back_their_own_part(rig: Rig) -> None:
    sink = rig.new_sink()
    parts = [sink.build_part("live", f"{partition:04}", None) for partition in range(3)]
    for partition, part in enumerate(parts):
        part.write_batch([[live(5, 10 + partition, partition=partition)]])
    for part in parts:
        part.snapshot()
        part.close()
    sink = rig.new_sink()
    parts = [sink.build_part("live", f"{partition:04}", None) for partition in range(3)]
    for partition, part in enumerate(parts):
        part.write_batch([[live(4, 10 + partition, value=-1, partition=partition)]])
        part.snapshot()
        part.close()
    assert set(rig.held().values()) == {5}


def test_a_reader_has_ten_thousand_newest_values_and_then_each_new_one(rig: Rig) -> None:
    part = rig.part()
    part.write(0, 15_000, subjects=10_000)
    part.snapshot()

    async def follow() -> tuple[dict[str, Last], Last]:
        messages = subscribe_last(rig.connection, rig.name)
        snapshot: dict[str, Last] = {}
        async for last in messages:
            snapshot[last.subject] = last
            if last.behind == 0:
                break
        await asyncio.to_thread(part.write, 20_000, 1)
        return snapshot, await anext(messages)

    snapshot, following = asyncio.run(asyncio.wait_for(follow(), 30))
    assert len(snapshot) == 10_000
    now = {subject: one.payload for subject, one in asyncio.run(last_values(rig.connection, rig.name)).items()}
    assert {subject: one.payload for subject, one in {**snapshot, following.subject: following}.items()} == now
    assert json.loads(following.payload)["value"] == 20_000
    part.close()


def test_an_empty_store_is_an_empty_snapshot(rig: Rig) -> None:
    rig.part().close()
    assert asyncio.run(last_values(rig.connection, rig.name)) == {}


def test_a_url_is_named_without_its_secrets() -> None:
    assert host(NatsConnection(url="nats://me:secret@a:4222,b")) == "a:4222,b:4222"
