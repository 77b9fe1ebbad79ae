"""Devices are read before the flow runs: what they say meanwhile comes first, once, in order, or is told as lost."""

from pathlib import Path

import pytest

from assets.reading import Gap, Mark, Reading, Readings
from deploy.wait import until
from sources import _backlog
from sources._backlog import Backlog
from sources._devices import Outlet, now_us
from sources._intake import Devices
from sources._partition import Stop
from tests.sources.test_devices import Device, Engine, reading

SECONDS = 60


class Early(Engine):
    """A device that is read before its engine asks."""

    def __init__(self, device: Device, folder: Path, most_bytes: int = 1 << 20) -> None:
        self.stop = Stop()
        self.devices = Devices({device.name: device}, self.stop)
        self.backlog = Backlog(folder, most_bytes)
        self.devices.begin(self.backlog)
        self.messages = []
        self.room = True

    def flow(self) -> None:
        self.devices.go_on(lambda: not self.room)
        self.part = self.devices.build_part("devices", "press", None)


class Steps:
    """A device that says the next number when it is told to."""

    def __init__(self) -> None:
        self.said = 0
        self.outlet: Outlet | None = None

    def work(self, outlet: Outlet, _: int) -> None:
        self.outlet = outlet

    def say(self, count: int) -> None:
        until(lambda: self.outlet is not None, SECONDS, "the device to be read")
        assert self.outlet is not None
        for _ in range(count):
            self.outlet.put(reading(self.said))
            self.said += 1

    def say_together(self, count: int) -> None:
        """In one piece, which nobody can take a part of."""
        until(lambda: self.outlet is not None, SECONDS, "the device to be read")
        assert self.outlet is not None
        self.outlet.put(Readings(now_us(), [Reading("a", self.said + n) for n in range(count)]))
        self.said += count


def kept(steps: Steps) -> None:
    """Wait until the backlog has all."""
    until(lambda: steps.outlet is not None and not steps.outlet.waiting, SECONDS, "the backlog")


def test_what_was_said_before_the_flow_ran_comes_first_and_in_order(tmp_path: Path) -> None:
    steps = Steps()
    early = Early(Device(steps.work), tmp_path)
    for _ in range(3):
        steps.say(500)
        kept(steps)
    steps.say(10)
    early.flow()
    steps.say(10)
    early.until(lambda: len(early.values()) == 1520)
    assert early.values() == list(range(1520))
    early.end()
    assert early.values() == [*range(1520), "last"]
    assert early.of(Gap) == []


def test_after_a_stall_a_source_hands_on_one_second_at_a_time(tmp_path: Path) -> None:
    steps = Steps()
    early = Early(Device(steps.work), tmp_path)
    steps.say(1)
    kept(steps)
    early.flow()
    assert steps.outlet is not None
    for _ in range(5):
        steps.say(1)
        steps.outlet.mark()
    while len(early.of(Mark)) < 5:
        marks = len(early.of(Mark))
        early.step()
        assert len(early.of(Mark)) <= marks + 1
    early.end()


def test_what_the_backlog_cannot_take_is_counted_and_told_when_the_flow_runs(tmp_path: Path) -> None:
    steps = Steps()
    early = Early(Device(steps.work), tmp_path, 200)
    steps.say_together(20)
    until(lambda: early.backlog.full, SECONDS, "the backlog to be full")
    steps.say(30)
    kept(steps)
    early.flow()
    steps.say(5)
    early.until(lambda: len(early.values()) == 25)
    [gap] = early.of(Gap)
    assert (gap.lost, gap.reason) == (30, "the spool was full")
    assert early.values() == [*range(20), *range(50, 55)]
    early.end()
    assert early.of(Mark)[-1].lost == 30


def test_while_there_is_no_room_the_backlog_waits_and_a_stop_leaves_it_unpublished(tmp_path: Path) -> None:
    steps = Steps()
    early = Early(Device(steps.work), tmp_path)
    steps.say(10)
    kept(steps)
    early.room = False
    early.flow()
    for _ in range(10):
        early.step()
    assert early.messages == []
    early.end()
    assert early.messages == [], "the last mark would promise what was not published"


def test_a_stop_leaves_what_takes_too_long_and_takes_nothing_of_it_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backlog, "LEAVE_AFTER_S", 0.0)
    steps = Steps()
    early = Early(Device(steps.work), tmp_path)
    for _ in range(3):
        steps.say(1)
        kept(steps)
    early.flow()
    early.until(early.values)
    early.end()
    assert early.values() == [0], "a stop has no time for the rest"


def test_what_a_stop_has_left_for_want_of_room_stays_left_when_there_is_room(tmp_path: Path) -> None:
    steps = Steps()
    early = Early(Device(steps.work), tmp_path)
    steps.say(1)
    kept(steps)
    early.room = False
    early.flow()
    early.stop.request()
    early.step()
    early.room = True
    early.end()
    assert early.messages == []


def test_sources_leave_their_devices_when_there_will_be_no_flow(tmp_path: Path) -> None:
    device = Device(Steps().work)
    early = Early(device, tmp_path)
    until(lambda: device.starts, SECONDS, "the device to be read")
    early.devices.end()
    assert device.left.wait(SECONDS)
