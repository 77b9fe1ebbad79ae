import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from bytewax.inputs import AbortExecution

from assets.reading import Gap, Link, Mark, Message, Reading, Readings
from sources import _devices
from sources._devices import Outlet, now_us
from sources._intake import Devices
from sources._partition import Stop
from tests.sources.recorder import asynchronous

M = TypeVar("M", Readings, Link, Gap, Mark)


class Device:
    """A source that does what a test tells it; `work` gets the outlet and the number of the start."""

    def __init__(self, work: Callable[[Outlet, int], object], name: str = "press") -> None:
        self.name = name
        self.starts = 0
        self.left = threading.Event()
        self._work = work

    async def run(self, outlet: Outlet) -> None:
        self.starts += 1
        try:
            result = self._work(outlet, self.starts)
            if asyncio.iscoroutine(result):
                await result
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            outlet.put(reading("last"))
            self.left.set()
            raise


def reading(value: object) -> Readings:
    return Readings(now_us(), [Reading("a", value)])  # type: ignore[arg-type]


class Engine:
    """Asks a partition as the engine does, and keeps what it says."""

    def __init__(self, device: Device) -> None:
        self.stop = Stop()
        self.part = Devices({device.name: device}, self.stop).build_part("devices", device.name, None)
        self.messages: list[Message] = []

    def step(self) -> None:
        for name, messages in self.part.next_batch():
            assert name == "press"
            self.messages += messages

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.messages
            self.step()
            time.sleep(0.001)

    def end(self) -> None:
        """A clean stop, with a snapshot after the last item."""
        self.stop.request()
        with pytest.raises(AbortExecution):
            self.until(lambda: self.part.snapshot() is not None)
        self.part.close()

    def values(self) -> list[object]:
        return [r.value for m in self.messages if isinstance(m, Readings) for r in m.readings]

    def of(self, kind: type[M]) -> list[M]:
        return [m for m in self.messages if isinstance(m, kind)]


def test_everything_arrives_in_the_order_in_which_it_was_handed_over() -> None:
    def work(outlet: Outlet, _: int) -> None:
        outlet.link(True)
        for n in range(1000):
            outlet.put(reading(n))
        outlet.gap(Gap([], 1, 2, "lost", 3))

    engine = Engine(Device(work))
    engine.until(lambda: engine.of(Gap))
    assert isinstance(engine.messages[0], Link)
    assert engine.values() == list(range(1000))
    engine.end()


def test_a_clean_stop_lets_the_source_leave_and_hands_on_its_last_words() -> None:
    device = Device(lambda outlet, _: outlet.put(reading("first")))
    engine = Engine(device)
    engine.until(engine.values)
    engine.end()
    assert device.left.is_set()
    assert engine.values() == ["first", "last"]
    last, stopped = engine.messages[-2:]
    assert isinstance(stopped, Link)
    assert (stopped.available, stopped.reason) == (False, "the gateway was stopped")
    assert isinstance(last, Mark)
    assert last.received == 2


def test_a_source_that_does_not_leave_holds_the_stop_up_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_devices, "STOP_TIMEOUT_S", 0.1)

    released = threading.Event()

    async def stubborn(_: Outlet) -> None:
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    device = Device(lambda outlet, _: stubborn(outlet))
    engine = Engine(device)
    engine.until(lambda: device.starts)
    engine.end()  # would never return if it waited
    released.set()
    assert 'source "press" did not leave its device within 0.1 s' in caplog.messages


def test_a_defect_starts_the_source_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(_devices, "RESTART_DELAY_S", 0.01)

    def work(outlet: Outlet, start: int) -> None:
        outlet.link(True)
        outlet.put(reading(start))
        if start == 1:
            raise ZeroDivisionError("oops")

    engine = Engine(Device(work))
    engine.until(lambda: engine.values() == [1, 2])
    assert [(link.available, link.reason) for link in engine.of(Link)] == [
        (True, ""),
        (False, "ZeroDivisionError: oops"),
        (True, ""),
    ]
    assert caplog.messages == ['source "press" failed; it starts again in 0.01 s']
    engine.end()


def test_what_is_missed_between_a_defect_and_the_next_reading_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_devices, "RESTART_DELAY_S", 0.01)

    def work(outlet: Outlet, start: int) -> None:
        if start != 2:
            outlet.link(True)
            outlet.put(reading(start))
        if start < 3:
            raise ZeroDivisionError("oops")

    engine = Engine(Device(work))
    engine.until(lambda: engine.values() == [1, 3])
    (gap,) = engine.of(Gap)
    before, after = engine.of(Readings)
    assert (gap.addresses, gap.start, gap.reason, gap.lost) == ([], before.received, "ZeroDivisionError: oops", None)
    assert before.received < gap.end <= after.received
    assert engine.messages.index(gap) < engine.messages.index(after)
    engine.end()


def test_a_library_that_cancels_what_it_should_not_does_not_end_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_devices, "RESTART_DELAY_S", 0.01)

    def work(outlet: Outlet, start: int) -> None:
        if start == 1:
            raise asyncio.CancelledError
        outlet.put(reading(start))

    engine = Engine(Device(work))
    engine.until(lambda: engine.values()[-1:] == [2])
    engine.end()


def test_a_mark_follows_what_it_counts_and_says_whether_the_link_was_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_devices, "MARK_INTERVAL_S", 0.05)
    engine = Engine(Device(lambda outlet, _: outlet.put(reading(1))))
    engine.until(lambda: len(engine.of(Mark)) == 3)
    marks = [(mark.proved, mark.received) for mark in engine.of(Mark)]
    assert marks == [(True, 1), (False, 1), (False, 1)]
    engine.end()


def test_a_partition_never_waits_for_its_source() -> None:
    engine = Engine(Device(lambda *_: None))
    began = time.monotonic()
    for _ in range(100):
        engine.step()
    assert time.monotonic() - began < 60
    engine.end()


@asynchronous
async def test_a_source_waits_while_the_flow_has_too_much_to_do() -> None:
    outlet = Outlet(most=2)
    await outlet.room()
    outlet.put(reading(1))
    outlet.put(reading(2))
    waiting = asyncio.create_task(outlet.room())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.shield(waiting)
    assert len(outlet.take()) == 2
    await waiting


def test_what_the_gateway_says_itself_proves_no_link() -> None:
    outlet = Outlet()
    outlet.put(reading(None), proved=False)
    outlet.mark()
    outlet.put(reading(1))
    outlet.put(reading(None), proved=False)
    outlet.mark()
    assert [m.proved for m in outlet.take() if isinstance(m, Mark)] == [False, True]


def test_a_link_is_said_once_and_a_loss_is_no_proof() -> None:
    outlet = Outlet()
    outlet.link(True)
    outlet.link(True)
    outlet.link(False, "gone")
    outlet.link(False, "still gone")
    outlet.mark()
    first, second, mark = outlet.take()
    assert isinstance(first, Link)
    assert isinstance(second, Link)
    assert (first.available, second.available, second.reason) == (True, False, "gone")
    assert isinstance(mark, Mark)
    assert not mark.proved


def test_what_is_known_to_be_lost_is_counted() -> None:
    outlet = Outlet()
    outlet.gap(Gap([], 1, 2, "x", 5))
    outlet.gap(Gap([], 2, 3, "x"))
    outlet.mark()
    assert outlet.lost == 5
    assert [m.lost for m in outlet.take() if isinstance(m, Mark)] == [5]
