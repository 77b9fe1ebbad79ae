"""Polls left out are counted and told; an hour lies between them, so that a slow machine leaves none out itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from assets.reading import Gap, Mark, Readings
from assets.status import BAD_TIMEOUT
from sources._modbus_address import parse_address
from sources._modbus_failures import Failure, Scope
from sources._modbus_poll import Poll
from sources._modbus_skipped import LONGEST_SPAN_US, REASON, Skipped
from sources.modbus import Config, _Client
from tests.sources.modbus_server import Device, silent
from tests.sources.recorder import Recorder, asynchronous

HOUR_S = 3_600.0
ADDRESSES = ["holding:7 uint16", "input:100 int16"]


@asynccontextmanager
async def polling() -> AsyncIterator[tuple[Poll, Device, Recorder]]:
    """A poll of a real device that has been read once."""
    async with Device() as device:
        config = Config.model_validate({"endpoint": f"tcp://127.0.0.1:{device.port}", "poll": "1h", "timeout": "20s"})
        client, recorder = _Client(config), Recorder()
        poll = Poll("meter", config, [parse_address(a) for a in ADDRESSES], client, recorder)
        await poll._cycle(now())
        yield poll, device, recorder
        client.close()


def now() -> float:
    return asyncio.get_running_loop().time()


def ago(hours: int) -> float:
    """An instant a little more than so many hours ago."""
    return now() - hours * HOUR_S - 1


@asynchronous
async def test_polls_left_out_are_counted_at_once_and_told_as_one_gap_when_a_cycle_is_in_time_again() -> None:
    async with polling() as (poll, _, got):
        due = await poll._cycle(ago(5))
        assert due > now()
        assert (got.lost, got.gaps) == (10, [])
        await poll._cycle(ago(2))
        assert (got.lost, got.gaps) == (14, [])
        await poll._cycle(now())
        read = [m.received for m in got.messages if isinstance(m, Readings)]
        counts = dict.fromkeys(ADDRESSES, 7)
        assert got.gaps == [Gap([], read[0], read[2], REASON, 14, counts)]
        assert got.lost == 14
        assert got.messages.index(got.gaps[0]) < got.messages.index(got.batches[-1])


@asynchronous
async def test_marks_say_since_when_polls_were_left_out_that_no_gap_tells_of_yet() -> None:
    async with polling() as (poll, _, got):
        got.mark()
        await poll._cycle(ago(5))
        got.mark()
        await poll._cycle(now())
        got.mark()
        marks = [m for m in [*got.messages, *got.queue] if isinstance(m, Mark)]
        read = [m.received for m in got.messages if isinstance(m, Readings)]
        assert [(m.lost, m.untold_since) for m in marks] == [(0, None), (10, read[0]), (10, None)]


@asynchronous
async def test_a_late_cycle_in_phase_leaves_none_out() -> None:
    async with polling() as (poll, _, got):
        await poll._cycle(now() - HOUR_S / 2)
        await poll._cycle(now())
        assert (got.lost, got.gaps) == (0, [])


@asynchronous
async def test_what_was_left_out_before_the_link_is_lost_is_told_before_the_loss() -> None:
    async with polling() as (poll, device, got):
        await poll._cycle(ago(3))
        await device.stop()
        await poll._cycle(now())
        told = [type(m).__name__ for m in got.messages if not isinstance(m, Readings)]
        assert told == ["Link", "Gap", "Link"]
        assert got.gaps[0].lost == 6


@asynchronous
async def test_polls_left_out_while_an_answer_was_waited_for_in_vain_are_told_when_the_unit_answers_again() -> None:
    async with polling() as (poll, _, got):
        read = [m.received for m in got.messages if isinstance(m, Readings)]
        for _ in range(2):
            poll._failed(Failure(Scope.UNIT, BAD_TIMEOUT, "no answer"), [], ago(3))
        assert (got.lost, got.untold_since) == (0, read[0])
        await poll._cycle(now())
        await poll._cycle(now())
        assert got.untold_since is None
        assert [(gap.start, gap.lost, gap.reason) for gap in got.gaps] == [(read[0], 12, REASON)]


@asynchronous
async def test_polls_left_out_while_a_unit_is_lost_lie_in_the_gap_of_the_loss() -> None:
    async with polling() as (poll, _, got):
        for _ in range(3):
            poll._failed(Failure(Scope.UNIT, BAD_TIMEOUT, "no answer"), [], ago(3))
        await poll._cycle(now())
        await poll._cycle(now())
        assert [(gap.lost, gap.reason) for gap in got.gaps] == [(None, "no answer")]


@asynchronous
async def test_what_was_left_out_before_a_stop_is_told() -> None:
    async with polling() as (poll, device, got):
        device.habits[1] = silent
        poll._late(ago(3))
        running = asyncio.create_task(poll.run())
        await got.until(lambda _: len(device.requests) > 2)
        running.cancel()
        await asyncio.wait([running])
        assert [gap.lost for gap in got.gaps] == [6]


def test_a_span_in_which_the_clock_is_set_back_is_told() -> None:
    outlet = Recorder()
    skipped = Skipped(outlet)
    skipped.add(1, ["a"], 2 * LONGEST_SPAN_US)
    skipped.read(LONGEST_SPAN_US)
    assert [gap.lost for gap in outlet.gaps] == [1]


def test_a_span_that_does_not_end_is_told_each_minute() -> None:
    outlet = Recorder()
    skipped = Skipped(outlet)
    for n in range(5):
        skipped.add(1, ["a"], n * LONGEST_SPAN_US // 2)
        skipped.read((n + 1) * LONGEST_SPAN_US // 2)
    assert [(gap.start, gap.end, gap.lost) for gap in outlet.gaps] == [
        (0, LONGEST_SPAN_US, 2),
        (LONGEST_SPAN_US, 2 * LONGEST_SPAN_US, 2),
    ]
    assert outlet.lost == 5
