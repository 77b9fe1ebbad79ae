"""What the devices tell at any instant: the machines' values as the scripted faults leave them.

Pure: (plant, time since the start) -> what every item is worth to whoever asks, before any server shows it.
"""

from typing import NamedTuple

from deploy.demo import faults
from deploy.demo.faults import Kind
from deploy.demo.machines import COUNTERS, Plant, Value

Key = tuple[str, str]


class Served(NamedTuple):
    """A value as a device tells it; None when its status is Bad. `source_time` is the device's clock, us since 1970."""

    value: Value | None
    status: int
    source_time: int


class Counters:
    """Registers that count on from zero after a reset and roll over at their width."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._base: dict[str, tuple[int, int]] = {}

    def show(self, key: Key, total: int, time_us: int) -> int:
        """What the register holds when `total` parts have been made."""
        name = ".".join(key)
        reset_us = faults.resets(time_us).get(name)
        if reset_us is None:
            return total % COUNTERS[key[1]]
        if self._base.get(name, (0, 0))[0] != reset_us:
            at_reset = self._plant.machines[key[0]].at(reset_us)[key[1]]
            self._base[name] = reset_us, int(at_reset)
        return (total - self._base[name][1]) % COUNTERS[key[1]]


def tell(plant: Plant, counters: Counters, time_us: int, start_us: int) -> dict[Key, Served]:
    """Every item's value, status and source time at `time_us` after the start."""
    active = faults.active(time_us)
    bad = {fault.target for fault in active if fault.kind is Kind.BAD_QUALITY}
    ahead = {fault.target for fault in active if fault.kind is Kind.CLOCK_SKEW}
    told = {}
    for key, value in plant.at(time_us).items():
        source_time = start_us + time_us + (faults.CLOCK_SKEW_US if key[0] in ahead else 0)
        if ".".join(key) in bad:
            told[key] = Served(None, faults.BAD_SENSOR_FAILURE, source_time)
        else:
            shown = counters.show(key, int(value), time_us) if key[1] in COUNTERS else value
            told[key] = Served(shown, 0, source_time)
    return told
