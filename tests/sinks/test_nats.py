"""Live values on a real nats-server: newest wins, ends and moves, what no server takes, and what readers get."""

import asyncio
import json

import pytest

from assets.batch import LiveValue
from assets.connection import NatsConnection
from deploy.wait import until
from sinks._jetstream import host
from sinks.nats import Last, last_values, subscribe_last
from tests.sinks.live_rig import PATH, Rig, end, live

pytestmark = pytest.mark.slow


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


def test_a_stream_that_nobody_follows_gets_the_last_message_of_each_subject(rig: Rig) -> None:
    part = rig.part(last_only=True)
    for first in range(0, 5_000, 500):
        part.write(first, 500)
    messages = [live(5_000, 98), live(5_001, 99), end(5_002, f"{PATH}.press-01.", f"{PATH}.press-02."), live(5_003, 99)]
    part.inner.write_batch([messages])  # type: ignore[attr-defined]
    assert rig.held() == {}
    part.snapshot()
    moved = {subject.replace("press-01", "press-02"): value for subject, value in rig.fold.items()}
    moved |= {f"{PATH}.press-02.item-98": 5_000, f"{PATH}.press-02.item-99": 5_001, f"{PATH}.press-01.item-99": 5_003}
    assert rig.held() == moved
    _, seq = rig.sink.reached()
    assert 2 * 52 <= seq <= 2 * 52 + 2, (
        "the values, the ends, the store's id and the message that the count begins with"
    )
    part.snapshot()
    assert rig.sink.reached()[1] == seq
    part.close()


@pytest.mark.parametrize("stored", [0, 100])
def test_what_is_published_is_not_sent_back(rig: Rig, stored: int) -> None:
    if stored:
        part = rig.part()
        part.write(0, stored)
        part.snapshot()
        part.close()
        until(lambda: asyncio.run(rig.consumers()) == 0, 60, "the readers of an earlier publisher to be gone")
    part = rig.part()
    until(lambda: asyncio.run(rig.consumers()) == 0, 60, "the reader of what was stored to be gone")
    part.close()


def test_an_empty_store_is_an_empty_snapshot(rig: Rig) -> None:
    rig.part().close()
    assert asyncio.run(last_values(rig.connection, rig.name)) == {}


def test_a_url_is_named_without_its_secrets() -> None:
    assert host(NatsConnection(url="nats://me:secret@a:4222,b")) == "a:4222,b:4222"
