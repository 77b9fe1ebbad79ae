"""The scripted faults: what goes wrong when, as a table, and which of it is going on at any instant.

The first minute shows every kind once; the table then repeats every five minutes.
"""

from enum import StrEnum
from typing import NamedTuple

from deploy.demo.physics import SECOND_US

REPEAT_S = 300
BAD_SENSOR_FAILURE = 0x808C0000
CLOCK_SKEW_US = 3 * 3600 * SECOND_US


class Kind(StrEnum):
    """What can go wrong."""

    BAD_QUALITY = "bad_quality"
    """An item is served as null with status BadSensorFailure."""
    FROZEN = "frozen"
    """An OPC UA server answers but its values stop changing."""
    RESTART = "restart"
    """An OPC UA server is stopped and started again on the same port."""
    NO_REPLY = "no_reply"
    """A Modbus unit takes requests and says nothing."""
    DEAD_UNIT = "dead_unit"
    """A gateway answers for a Modbus unit with exception 0x0B."""
    CLOCK_SKEW = "clock_skew"
    """An asset's source timestamps are three hours ahead."""
    COUNTER_RESET = "counter_reset"
    """A counter starts again from zero."""


class Fault(NamedTuple):
    """One occurrence: `target` is a server, `server/unit`, an asset or `asset.item`."""

    kind: Kind
    target: str
    from_us: int
    to_us: int


SCHEDULE = (
    (8, 4, Kind.BAD_QUALITY, "press-02.temperature"),
    (14, 5, Kind.FROZEN, "opcua-2"),
    (20, 6, Kind.DEAD_UNIT, "modbus-2/3"),
    (24, 5, Kind.NO_REPLY, "modbus-1/2"),
    (30, 4, Kind.RESTART, "opcua-1"),
    (40, 8, Kind.CLOCK_SKEW, "press-04"),
    (48, 1, Kind.COUNTER_RESET, "conveyor-02.parts"),
    (50, 3, Kind.BAD_QUALITY, "press-01.state"),
)
"""(second, for seconds, kind, target)."""


def occurrences(round_number: int) -> list[Fault]:
    """The faults of one pass through the table, in order of their beginning."""
    shift = round_number * REPEAT_S
    return [
        Fault(kind, target, (at + shift) * SECOND_US, (at + shift + duration) * SECOND_US)
        for at, duration, kind, target in SCHEDULE
    ]


def active(time_us: int) -> frozenset[Fault]:
    """The faults going on at `time_us` after the start."""
    faults = occurrences(time_us // (REPEAT_S * SECOND_US))
    return frozenset(fault for fault in faults if fault.from_us <= time_us < fault.to_us)


def resets(time_us: int) -> dict[str, int]:
    """Target -> instant of its latest counter reset up to `time_us`."""
    rounds = time_us // (REPEAT_S * SECOND_US)
    faults = [*(occurrences(rounds - 1) if rounds else []), *occurrences(rounds)]
    return {f.target: f.from_us for f in faults if f.kind is Kind.COUNTER_RESET and f.from_us <= time_us}
