"""Live values through what a nats-server can do to them: killed, away, emptied, put back, dropping messages."""

import asyncio
import logging
import shutil
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client

from assets.connection import NatsConnection
from deploy.nats import Nats
from deploy.wait import until
from sinks import _wait
from sinks._jetstream import host
from sinks._wait import Interrupted
from sinks.nats import StoreLostError
from tests.sinks.live_rig import PATH, Rig, end, live

pytestmark = pytest.mark.slow


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
    until(lambda: rig.sink.reached()[0] != before[0], 60, "the loss to be noticed and mended")
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
    until(lambda: rig.held() == rig.fold, 60, "all values")
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
    until(lambda: len(rig.found()) == 2, 60, "both copies to fill the store again")
    for part in parts:
        part.close()
    assert rig.held() == {live(6, 0).subject: 6, live(5, 1).subject: 5}


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
