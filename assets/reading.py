"""What a source hands to the flow: values as the protocol gave them, links, and a mark each second.

A source knows addresses, not assets: meaning is added by `operators/normalize.py`. Everything here travels inside one
ingest process and is never written to the stream.
"""

from collections.abc import Iterable

import msgspec

from assets.fields import Value


class Reading(msgspec.Struct, array_like=True, gc=False):
    """The value at one address: `address` is the text of the plant folder, `status` an OPC UA StatusCode.

    `source_time` is the device's clock in microseconds, or None when it has none. `flags` as in `assets.frame.Flag`.
    """

    address: str
    value: Value = None
    status: int = 0
    source_time: int | None = None
    flags: int = 0


class Readings(msgspec.Struct, gc=False):
    """Readings taken together at `received` (the gateway's clock, us).

    `clock` is the source's own clock at that moment (OPC UA publishTime), None where the protocol has none.
    """

    received: int
    readings: list[Reading]
    clock: int | None = None


class Link(msgspec.Struct, gc=False):
    """The source gained or lost its device at `at` (the gateway's clock, us); `reason` says why it lost it."""

    at: int
    available: bool
    reason: str = ""


class Gap(msgspec.Struct, gc=False):
    """What could not be read: `addresses` (empty: all of the source) between two instants (us), with a reason.

    `lost` is the number of values known to be gone, None when nobody can know; `counts` is the same by address.
    """

    addresses: list[str]
    start: int
    end: int
    reason: str
    lost: int | None = None
    counts: dict[str, int] | None = None

    def lost_at(self, addresses: Iterable[str], *, alone: bool) -> int | None:
        """How many values of one asset are gone: those of its addresses; all, if no other asset is concerned."""
        if self.counts is not None:
            return sum(self.counts.get(address, 0) for address in addresses)
        return self.lost if alone or self.lost == 0 else None


class Mark(msgspec.Struct, gc=False):
    """The second's tick of a source: all it received before `at` has been handed over before this mark.

    `proved` says whether the link was proved (a keep-alive or an answer) since the last mark; `received` counts the
    readings handed over since the process started, `lost` those known to be gone. `last`: the source ends here.
    `handed`: when the flow took it (us), which may be long after `at`; 0: at once. `untold_since`: what was lost since
    this instant (us) is told as a gap later.
    """

    at: int
    proved: bool
    received: int
    lost: int = 0
    last: bool = False
    handed: int = 0
    untold_since: int | None = None


Message = Readings | Link | Gap | Mark
