import asyncio
import itertools
import logging
import struct

import pytest
from pydantic import ValidationError

from assets.reading import Gap, Readings
from assets.status import (
    BAD_COMMUNICATION_ERROR,
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
)
from deploy.ports import free_port
from sources import _modbus_poll
from sources._modbus_skipped import REASON
from sources.modbus import Config, Source
from tests.proxy import Proxy
from tests.sources.modbus_server import (
    Device,
    Habit,
    one_register_short,
    refuses,
    silent,
    transaction_zero,
    wrong_function,
)
from tests.sources.recorder import Recorder, asynchronous, running

ADDRESSES = ["holding:7 uint16", "holding:8 uint32", "input:100 int16", "coil:3 bool", "discrete:4 bool"]
VALUES = {ADDRESSES[0]: 7, ADDRESSES[1]: 0x00080009, ADDRESSES[2]: 100, ADDRESSES[3]: True, ADDRESSES[4]: False}


def source(port: int, addresses: list[str] = ADDRESSES, **options: object) -> Source:
    quick = {"poll": "20ms", "timeout": "80ms", "probe_min": "50ms", "probe_max": "100ms", **options}
    return Source("meter", Config.model_validate({"endpoint": f"tcp://127.0.0.1:{port}", **quick}), addresses)


@pytest.fixture(autouse=True)
def _reconnect_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_modbus_poll, "RECONNECT_S", (0.05, 0.1))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log, without late cycles: these tests poll faster than a busy machine can."""
    return [message for message in caplog.messages if "late cycles" not in message]


def outages(recorder: Recorder) -> list[Gap]:
    """All gaps but those of polls that a busy machine left out."""
    return [gap for gap in recorder.gaps if gap.reason != REASON]


async def first(recorder: Recorder) -> Readings:
    """The first batch, waited for."""
    return (await recorder.until(lambda r: r.batches))[0]


@asynchronous
async def test_a_cycle_reads_all_tables_together() -> None:
    async with Device() as device, running(source(device.port)) as got:
        batch = await first(got)
        assert {r.address: r.value for r in batch.readings} == VALUES
        assert {(r.status, r.source_time, r.flags) for r in batch.readings} == {(0, None, 0)}
        assert batch.clock is None
        assert [link.available for link in got.links] == [True]
        assert len(device.requests[:4]) == len({request[1] for request in device.requests[:4]}) == 4


@asynchronous
async def test_every_poll_is_a_new_sample() -> None:
    async with Device() as device, running(source(device.port, ["holding:7 uint16"])) as got:
        await got.until(lambda r: len(r.readings("holding:7 uint16")) >= 3)
        device.registers[7] = 4711
        await got.until_value("holding:7 uint16", 4711)
        times = [batch.received for batch in got.batches]
        assert times == sorted(set(times))
        assert outages(got) == []


@asynchronous
async def test_a_refused_address_is_found_and_left_out_and_the_others_are_good_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    addresses = [f"holding:{n} uint16" for n in range(10)]
    async with Device() as device, running(source(device.port, addresses)) as got:
        device.refused = {6}
        await got.until(lambda r: len(r.batches) >= 3)
        bad = got.readings("holding:6 uint16")
        assert [(r.value, r.status) for r in bad] == [(None, BAD_NODE_ID_UNKNOWN)]
        assert [r.value for r in got.readings("holding:5 uint16")[:3]] == [5, 5, 5]
        asked = len(device.requests)
        await got.until(lambda _: len(device.requests) >= asked + 4)
        assert not any(address <= 6 < address + count for _, _, address, count in device.requests[asked:])
    assert said(caplog) == [
        (
            f'could not read "holding:6 uint16" of source "meter" at tcp://127.0.0.1:{device.port} unit 1: '
            "no such address (exception 2); trying again in 300 s"
        )
    ]


@asynchronous
async def test_a_refused_address_is_read_as_soon_as_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_modbus_poll, "REFUSED_S", 0.05)
    async with Device() as device:
        device.refused = {6}
        async with running(source(device.port, ["holding:6 uint16"])) as got:
            await got.until(lambda r: r.readings("holding:6 uint16"))
            device.refused = set()
            await got.until_value("holding:6 uint16", 6)
            assert [r.status for r in got.readings("holding:6 uint16")][:2] == [BAD_NODE_ID_UNKNOWN, 0]


@pytest.mark.parametrize("habit", [wrong_function, one_register_short, transaction_zero])
@asynchronous
async def test_an_answer_that_does_not_fit_gives_no_value(habit: Habit) -> None:
    async with Device() as device:
        device.habits[1] = habit
        async with running(source(device.port, ["holding:7 uint16", "holding:8 uint16"])) as got:
            batch = await first(got)
            assert {(r.value, r.status) for r in batch.readings} <= {(None, BAD_DECODING_ERROR), (None, BAD_TIMEOUT)}
            del device.habits[1]
            await got.until_value("holding:8 uint16", 8)
            assert len(got.readings("holding:7 uint16")) == 1 + len(
                [r for r in got.readings("holding:7 uint16") if r.value]
            )


@pytest.mark.parametrize(
    ("habit", "status", "cause"),
    [
        (silent, BAD_TIMEOUT, "no answer within 80ms"),
        (refuses(0x0B), BAD_NO_COMMUNICATION, "unit does not answer its gateway (exception 11)"),
        (refuses(6), BAD_RESOURCE_UNAVAILABLE, "device busy (exception 6)"),
    ],
)
@asynchronous
async def test_a_unit_that_fails_is_bad_once_then_lost_then_probed_and_comes_back_with_a_gap(
    habit: Habit, status: int, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Device() as device, running(source(device.port)) as got:
        await first(got)
        device.habits[1] = habit
        await got.until(lambda r: len(r.links) == 2)
        assert (got.links[1].available, got.links[1].reason) == (False, cause)
        seen = len(device.requests)
        await got.until(lambda _: len(device.requests) >= seen + 2)
        for address in ADDRESSES:
            assert [r.status for r in got.readings(address) if r.status] == [status]
        del device.habits[1]
        await got.until(lambda r: len(r.links) == 3)
        await got.until_value(ADDRESSES[0], 7)
    [gap] = outages(got)
    batches = [batch for batch in got.batches if batch.readings[0].status == 0]
    at = next(n for n, batch in enumerate(batches) if batch.received == gap.end)
    assert gap == Gap([], batches[at - 1].received, batches[at].received, cause)
    where = f'source "meter" at tcp://127.0.0.1:{device.port} unit 1'
    lost, back = [message for message in said(caplog) if "meter" in message]
    assert lost.startswith(f"could not read {where}: {cause}; trying again in 0.")
    assert back == f"{where} is back"


@asynchronous
async def test_a_lost_unit_is_asked_once_per_probe() -> None:
    async with Device() as device:
        device.habits[1] = silent
        async with running(source(device.port, probe_min="300ms", probe_max="300ms")) as got:
            await got.until(lambda r: r.links)
            assert len(device.requests) == 1
            assert {r.status for r in got.batches[0].readings} == {BAD_TIMEOUT}
            assert got.unproved == len(got.batches) == 1


@asynchronous
async def test_a_failure_shorter_than_the_demotion_is_said_in_the_values_only() -> None:
    async with Device() as device, running(source(device.port, demote_after=1000, retries=0)) as got:
        await first(got)
        device.habits[1] = silent
        await got.until(lambda r: any(reading.status for reading in r.readings(ADDRESSES[0])))
        del device.habits[1]
        await got.until_value(ADDRESSES[0], 7)
        assert [link.available for link in got.links] == [True]


@asynchronous
async def test_an_unanswered_request_is_repeated_before_the_cycle_fails() -> None:
    async with Device() as device, running(source(device.port, ["holding:7 uint16"])) as got:
        await first(got)
        answers = iter([None])
        device.habits[1] = lambda _, answer: next(answers, answer)
        await got.until(lambda r: len(r.batches) > 10)
        assert {r.status for r in got.readings("holding:7 uint16")} == {0}


@asynchronous
async def test_a_connection_closed_by_the_device_is_opened_again_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Device() as device, running(source(device.port)) as got:
        await first(got)
        device.hang_up()
        n = len(got.batches)
        await got.until(lambda r: len(r.batches) > n + 2)
        assert [link.available for link in got.links] == [True]
        assert {r.status for batch in got.batches for r in batch.readings} == {0}
    assert said(caplog) == []


@asynchronous
async def test_a_device_that_restarts_is_lost_at_once_and_found_again(caplog: pytest.LogCaptureFixture) -> None:
    async with Device() as device, running(source(device.port)) as got:
        await first(got)
        await device.stop()
        await got.until(lambda r: len(r.links) == 2)
        assert got.links[1].reason == "connection refused"
        assert got.readings(ADDRESSES[0])[-1].status == BAD_COMMUNICATION_ERROR
        await device.start()
        await got.until(lambda r: len(r.links) == 3)
        await got.until_value(ADDRESSES[0], 7)
        assert len(outages(got)) == 1
    assert len(said(caplog)) == 1


@asynchronous
async def test_an_unreachable_device_is_one_line_and_not_one_per_attempt(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    async with running(source(port)) as got:
        await got.until(lambda r: r.links)
        await asyncio.sleep(0.5)  # several attempts; nothing may happen, so there is nothing to wait for
        assert [link.available for link in got.links] == [False]
        assert len(got.batches) == 1
    [message] = said(caplog)
    assert message.startswith(f'could not read source "meter" at tcp://127.0.0.1:{port} unit 1: connection refused; ')


@asynchronous
async def test_a_half_open_connection_is_noticed_and_left() -> None:
    async with Device() as device, Proxy(device.port) as proxy, running(source(proxy.port, demote_after=1)) as got:
        await first(got)
        proxy.hole()
        await got.until(lambda r: len(r.links) == 2)
        assert got.links[1].reason == "no answer within 80ms"
        proxy.forward()
        await got.until(lambda r: len(r.links) == 3)


@asynchronous
async def test_an_answer_in_pieces_is_put_together() -> None:
    async with Device() as device, Proxy(device.port) as proxy:
        proxy.piece = 3
        async with running(source(proxy.port, timeout="2s")) as got:
            batch = await first(got)
            assert {r.address: r.value for r in batch.readings} == VALUES


@asynchronous
async def test_a_late_answer_never_becomes_the_answer_to_the_next_request() -> None:
    async with Device() as device, running(source(device.port, ["holding:7 uint16", "holding:70 uint16"])) as got:
        await first(got)
        device.late_s = 0.1
        await got.until(lambda r: any(reading.status for reading in r.readings("holding:7 uint16")))
        device.late_s = 0.0
        n = len(got.batches)
        await got.until(lambda r: len(r.batches) > n + 10)
    assert {r.value for r in got.readings("holding:7 uint16")} == {7, None}
    assert {r.value for r in got.readings("holding:70 uint16")} <= {70, None}


@asynchronous
async def test_cycles_keep_their_phase_and_late_ones_are_left_out() -> None:
    async with Device() as device:
        device.late_s = 0.03
        poller = source(device.port, ["holding:7 uint16"])
        async with running(poller) as got:
            await got.until(lambda r: len(r.batches) >= 10)
            times = [batch.received for batch in got.batches]
            assert min(b - a for a, b in itertools.pairwise(times)) >= 30_000


@asynchronous
async def test_the_device_is_not_asked_while_the_flow_is_behind() -> None:
    async with Device() as device:
        recorder = Recorder()
        recorder._most = 2
        recorder._take = recorder._news.set  # type: ignore[method-assign]
        task = asyncio.create_task(source(device.port, ["holding:7 uint16"]).run(recorder))
        await recorder.until(lambda r: r.waiting == 2)
        await asyncio.sleep(0.2)  # ten polls; none may come
        assert len(device.requests) == 2
        recorder.take()
        await recorder.until(lambda _: len(device.requests) > 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynchronous
async def test_the_demo_meters_tell_what_was_written() -> None:
    """Values through another engineer's encoder: two opinions on the same registers."""
    async with Device() as device:
        device.registers.update(enumerate(struct.unpack(">4H", bytes.fromhex("E97942F642F6E979")), 100))
        async with running(source(device.port, ["input:100 float32 cdab", "input:102 float32"])) as got:
            batch = await first(got)
            assert [r.value for r in batch.readings] == pytest.approx([123.456, 123.456])


def test_the_options_are_checked() -> None:
    with pytest.raises(ValidationError) as refused:
        Config.model_validate(
            {"endpoint": "opc.tcp://x", "unit": 256, "poll": "0s", "holes": ["holding:9-3"], "rate": 1}
        )
    assert {error["loc"][0] for error in refused.value.errors()} == {"endpoint", "unit", "poll", "holes", "rate"}


def test_the_link_is_proved_each_poll() -> None:
    config = Config.model_validate({"endpoint": "tcp://meter", "poll": "5s"})
    assert (config.cycle_us, config.ttl_us) == (5_000_000, 15_000_000)


def test_an_address_longer_than_a_request_may_be_is_refused() -> None:
    with pytest.raises(ValueError) as refused:
        source(1, ["holding:0 string[20]"], max_registers=8)
    assert str(refused.value) == '"holding:0 string[20]" takes 10 registers; max_registers says less'
