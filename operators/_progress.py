"""The clock of a partition: the progress of its gateways by their ticks, and which of them has gone silent.

Each gateway is aligned when first seen, so gateways whose clocks are hours apart do not harm each other; when all
gateways are silent no time passes.
"""

from typing import Final

import msgspec

from assets.definition import Teller
from assets.frame import Tick

MAX_STEP_US: Final = 5_000_000
"""A gateway whose clock leaps (or that was stalled) is aligned anew instead of aging everybody else's sources."""
MAX_SILENCE_US: Final = 300_000_000
"""A gateway that says nothing for so long, while others do, keeps none of their definitions from coming into force."""


class Gateway(msgspec.Struct):
    """Where one gateway stands: its run, its own clock, and the partition's clock it is aligned to (us)."""

    run: int
    received: int
    clock: int


class Progress(msgspec.Struct):
    """The partition's clock (us), its gateways, and by its clock when each of them was last heard; plain state."""

    clock: int = 0
    gateways: dict[str, Gateway] = {}
    heard: dict[str, int] = {}

    def advance(self, tick: Tick) -> None:
        """Move the clock by the progress of the tick's gateway."""
        gateway = self.gateways.get(tick.gateway)
        if gateway is None or gateway.run != tick.run:
            self.gateways[tick.gateway] = Gateway(tick.run, tick.received, self.clock)
        else:
            step, gateway.received = tick.received - gateway.received, tick.received
            gateway.clock = self.clock if step > MAX_STEP_US else gateway.clock
            gateway.clock += min(max(step, 0), MAX_STEP_US)
            self.clock = max(self.clock, gateway.clock)
        self.hear(tick.gateway)

    def hear(self, gateway: str) -> None:
        """A gateway tells something: it is there. When a new one comes, those that are long silent are forgotten."""
        if gateway not in self.heard:
            for name in [name for name in self.heard if self.is_silent(name)]:
                del self.heard[name]
                self.gateways.pop(name, None)
        self.heard[gateway] = self.clock

    def is_silent(self, gateway: str) -> bool:
        """Whether a gateway has said nothing for long."""
        return self.clock - self.heard.get(gateway, -MAX_SILENCE_US) >= MAX_SILENCE_US

    def gives_way(self, known: Teller, teller: Teller) -> bool:
        """Whether what one told gives way to what another one tells now: it started earlier, or has gone silent."""
        return known.yields_to(teller) or self.is_silent(known.gateway)
