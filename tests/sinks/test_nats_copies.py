"""Copies of `serve` that write to one stream side by side: each notices what it has lost, whatever the others write."""

import asyncio
import logging
from typing import Any

import pytest
from nats.aio.client import Client

from assets.condition import Refused
from assets.connection import NatsConnection
from deploy.nats import Nats
from deploy.wait import until
from sinks._jetstream import connect, host
from sinks.nats import StoreLostError
from tests.sinks.live_rig import Part, Rig

pytestmark = pytest.mark.slow

COPIES = ("0/2", "1/2")


@pytest.fixture
def parts(rig: Rig) -> list[Part]:
    """A partition of each of two copies."""
    return [rig.part(partition=p, copy=copy) for p, copy in enumerate(COPIES)]


def close(parts: list[Part]) -> None:
    for part in parts:
        part.snapshot()
        part.close()


def test_from_one_to_three_to_two_copies_the_store_holds_the_fold(rig: Rig) -> None:
    for round_, copies in enumerate((1, 3, 2, 1)):
        parts = [rig.part(partition=p, copy=f"{p % copies}/{copies}") for p in range(3)]
        for first in range(1_000 * round_, 1_000 * (round_ + 1), 250):
            for part in parts:
                part.write(first, 250, subjects=400)
        close(parts)
        assert rig.held() == rig.fold


def test_messages_that_a_server_lost_are_noticed_though_another_copy_has_written_as_many(
    rig: Rig, parts: list[Part], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, lost = Client.publish, iter(range(100))

    async def publish(client: Client, subject: str, payload: bytes = b"", **more: Any) -> None:
        if "item-100000" in subject and 3 <= next(lost, 100) < 6:
            parts[0].write(0, 3)
            return
        await real(client, subject, payload, **more)

    for part in parts:
        part.write(0, 1)
        part.snapshot()
    monkeypatch.setattr(Client, "publish", publish)
    parts[1].write(1, 50)
    close(parts[::-1])  # the other one is told to write while this one does
    assert rig.held() == rig.fold
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"NATS at {host(rig.connection)} did not take 50 messages (")
    assert caplog.messages[0].endswith("; sending them again")


def test_a_copy_whose_newest_messages_are_lost_notices_though_the_other_has_gone_on(
    rig: Rig, parts: list[Part]
) -> None:
    parts[1].write(0, 10)
    before = parts[1].snapshot()
    mark = asyncio.run(stored(rig, "1-of-2"))
    parts[1].write(10, 10)
    after = parts[1].snapshot()
    parts[1].close()
    asyncio.run(put_back(rig, "1-of-2", mark))
    parts[0].write(0, 1_000)
    close(parts[:1])
    rig.part(before, 1, "1/2").close()
    with pytest.raises(StoreLostError, match="has lost its newest 1 batches; start the flow again"):
        rig.part(after, 1, "1/2")
    part = rig.part(after, 1, "1/2")
    part.write(0, 20)
    close([part])
    assert rig.held() == rig.fold


async def stored(rig: Rig, copy: str) -> bytes:
    """The mark of a copy."""
    async with connect(rig.connection) as client:
        return (await client.jetstream().get_last_msg(rig.name, f"{rig.prefix}penstock.store.{copy}")).data or b""


async def put_back(rig: Rig, copy: str, mark: bytes) -> None:
    """Let the store be as it was before the last batch of a copy: its mark says so."""
    async with connect(rig.connection) as client:
        await client.jetstream().publish(f"{rig.prefix}penstock.store.{copy}", mark)


@pytest.mark.parametrize("loss", ["delete", "purge"])
def test_a_store_lost_under_running_copies_is_filled_by_all_of_them(rig: Rig, parts: list[Part], loss: str) -> None:
    for part in parts:
        part.write(0, 100)
        part.snapshot()
    asyncio.run(getattr(rig, loss)())
    until(lambda: len(rig.found()) == len(rig.fold), 60, "both copies to fill the store again")
    close(parts)
    assert rig.held() == rig.fold


def test_copies_outlive_a_killed_server(server: Nats, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "sinks")
    rig = Rig(NatsConnection(url=server.address), "penstock")
    parts = [rig.part(partition=p, copy=copy) for p, copy in enumerate(COPIES)]
    for first in range(0, 6_000, 300):
        for part in parts:
            part.write(first, 300, subjects=700)
        if first % 2_000 == 900:
            server.kill()
            server.start()
    close(parts)
    assert rig.held() == rig.fold


def test_what_operators_set_on_the_stream_stays_when_copies_begin(rig: Rig) -> None:
    one = rig.part()
    one.write(0, 10)
    close([one])

    async def changed(**more: Any) -> dict[str, Any]:
        async with connect(rig.connection) as client:
            stream = client.jetstream()
            config = (await stream.stream_info(rig.name)).config
            if more:
                await stream.update_stream(config, **more)
            return config.as_dict()

    kept = {"max_bytes": 1 << 28, "max_age": 86_400.0, "description": "of the plant", "num_replicas": 1}
    own = f"{rig.prefix}of.the.plant"
    asyncio.run(changed(**kept, subjects=[f"{rig.prefix}assets.>", f"{rig.prefix}state.>", own]))
    before = asyncio.run(changed())
    parts = [rig.part(partition=p, copy=copy) for p, copy in enumerate(COPIES)]
    close(parts)
    after = asyncio.run(changed())
    assert own in after["subjects"]
    assert after["allow_atomic"]
    assert set(after["subjects"]) > set(before["subjects"])
    same = set(before) - {"subjects", "allow_atomic", "metadata"}
    assert {name: after.get(name) for name in same} == {name: before[name] for name in same}


def test_a_stream_that_the_server_does_not_let_us_change_is_refused_with_the_reason(rig: Rig) -> None:
    async def occupy() -> None:
        async with connect(rig.connection) as client:
            await client.jetstream().add_stream(name=f"{rig.name}-other", subjects=[f"{rig.prefix}assets.acme.>"])

    asyncio.run(occupy())
    with pytest.raises(
        Refused, match=r"its server refuses it: subjects overlap with an existing stream \(10065\); change"
    ):
        rig.part().snapshot()
