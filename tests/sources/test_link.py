"""The link to a device: what could not be read is a gap, from the first try on."""

from assets.reading import Gap, Link, Mark
from sources._devices import Outlet
from sources._link import DeviceLink


def test_a_device_that_is_first_reached_late_leaves_a_gap_since_the_first_try() -> None:
    outlet = Outlet()
    link = DeviceLink("press", "opc.tcp://127.0.0.1:9", outlet)
    link.lost("connection refused", 1.0)
    first_try = link.proved_at
    assert first_try is not None
    link.lost("connection refused", 2.0)
    link.found(first_try + 5_000_000)
    lost, found, gap = outlet.take()
    assert isinstance(lost, Link)
    assert isinstance(found, Link)
    assert (lost.available, found.available) == (False, True)
    assert gap == Gap([], first_try, first_try + 5_000_000, "connection refused")


def test_a_gap_begins_at_the_last_proof() -> None:
    outlet = Outlet()
    link = DeviceLink("press", "opc.tcp://127.0.0.1:9", outlet)
    link.found(1_000)
    link.lost("time-out", 1.0)
    link.found(9_000)
    assert outlet.take()[-1] == Gap([], 1_000, 9_000, "time-out")


def test_while_values_may_be_missing_on_a_living_link_marks_say_since_when() -> None:
    outlet = Outlet()
    link = DeviceLink("press", "opc.tcp://127.0.0.1:9", outlet)
    link.found(1_000)
    link.missed("the subscription is gone")
    outlet.mark()
    link.found(9_000)
    outlet.mark()
    _, losing, gap, told = outlet.take()
    assert isinstance(losing, Mark)
    assert isinstance(told, Mark)
    assert (losing.untold_since, told.untold_since) == (1_000, None)
    assert gap == Gap([], 1_000, 9_000, "the subscription is gone")
