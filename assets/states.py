"""Vocabularies of states as their standards write them, each with the class that people see in colour and icon.

`packml` is ISA-TR88.00.02 with the numbers of the OPC UA PackML nodeset 1.01; `execution` is MTConnect EXECUTION (2.7);
`machinery` is OPC 40001-1 MachineryItemState. Only PackML machines send numbers; the others send the names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, cast


class Kind(StrEnum):
    """What a state means for people who watch a plant."""

    PRODUCING = "producing"
    READY = "ready"
    HELD = "held"
    SETUP = "setup"
    DOWN = "down"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Vocabulary:
    """The states of one standard: names as it spells them, what they mean, and their numbers if it has any."""

    name: str
    kinds: Mapping[str, Kind]
    numbers: Mapping[int, str]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the standard."""
        return tuple(self.kinds)

    def name_of(self, raw: object) -> str | None:
        """The name for what a device sent (a number, or the name itself); None when the standard does not know it."""
        if isinstance(raw, str):
            return raw if raw in self.kinds else None
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            return None
        return self.numbers.get(cast("int", raw))  # 6.0 finds 6, a NaN finds nothing

    def kind(self, name: object) -> Kind:
        """What a state means for people; `unknown` for a name that the standard does not have."""
        return self.kinds.get(name, Kind.UNKNOWN) if isinstance(name, str) else Kind.UNKNOWN


_PACKML: Final = (
    (1, "Clearing", Kind.DOWN),
    (2, "Stopped", Kind.DOWN),
    (3, "Starting", Kind.SETUP),
    (4, "Idle", Kind.READY),
    (5, "Suspended", Kind.HELD),
    (6, "Execute", Kind.PRODUCING),
    (7, "Stopping", Kind.DOWN),
    (8, "Aborting", Kind.DOWN),
    (9, "Aborted", Kind.DOWN),
    (10, "Holding", Kind.HELD),
    (11, "Held", Kind.HELD),
    (12, "Unholding", Kind.HELD),
    (13, "Suspending", Kind.HELD),
    (14, "Unsuspending", Kind.HELD),
    (15, "Resetting", Kind.SETUP),
    (16, "Completing", Kind.PRODUCING),
    (17, "Complete", Kind.READY),
)

_EXECUTION: Final = (
    ("READY", Kind.READY),
    ("ACTIVE", Kind.PRODUCING),
    ("INTERRUPTED", Kind.HELD),
    ("FEED_HOLD", Kind.HELD),
    ("STOPPED", Kind.DOWN),
    ("OPTIONAL_STOP", Kind.HELD),
    ("PROGRAM_STOPPED", Kind.HELD),
    ("PROGRAM_COMPLETED", Kind.READY),
    ("PROGRAM_OPTIONAL_STOP", Kind.HELD),  # deprecated since 1.4, still sent
    ("WAIT", Kind.HELD),
    ("UNAVAILABLE", Kind.OFFLINE),
)

_MACHINERY: Final = (
    ("Executing", Kind.PRODUCING),
    ("NotExecuting", Kind.READY),
    ("OutOfService", Kind.DOWN),
    ("NotAvailable", Kind.OFFLINE),
)


def _vocabulary(name: str, kinds: dict[str, Kind], numbers: dict[int, str] | None = None) -> Vocabulary:
    return Vocabulary(name, MappingProxyType(kinds), MappingProxyType(numbers or {}))


VOCABULARIES: Final[Mapping[str, Vocabulary]] = MappingProxyType(
    {
        "packml": _vocabulary("packml", {s: kind for _, s, kind in _PACKML}, {number: s for number, s, _ in _PACKML}),
        "execution": _vocabulary("execution", dict(_EXECUTION)),
        "machinery": _vocabulary("machinery", dict(_MACHINERY)),
    }
)
"""Every vocabulary that `states:` of an item can name."""
