"""Threshold alarms with hysteresis and delays (ISA-18.2, IEC 62682; deadband on the clear side only).

Active when the value is beyond the limit (equal does not activate) for `on_delay` without a break; clear when it is
back beyond the clear limit for `off_delay`. Bad quality, a lost link or a gap freezes the alarm and drops a
pending change.
"""

from typing import Any, Final

from pydantic import model_validator

from assets.definition import Item
from assets.duration import DurationUs
from assets.frame import Observation
from assets.status import BAD_NOT_SUPPORTED, UNCERTAIN
from operators.asset_logic import Change, Changes
from operators.rule import Rule, RuleState

ACTIVE: Final = "ACTIVE"
CLEAR: Final = "CLEAR"


class AlarmState(RuleState, tag="alarm"):
    """Whether the alarm is active, since when; `due` is the deadline of a pending change. None: no good value yet."""

    active: bool | None = None
    since: int | None = None


class Alarm(Rule):
    """`overheat: {alarm: temperature, above: 90, clear_below: 80, on_delay: 5s}`; give `above` or `below`."""

    State = AlarmState

    above: float | None = None
    """Active above this limit, in the item's unit."""
    clear_below: float | None = None
    """Clears below this, in the item's unit; default: `above`."""
    below: float | None = None
    """Active below this limit, in the item's unit."""
    clear_above: float | None = None
    """Clears above this, in the item's unit; default: `below`."""
    on_delay: DurationUs = 0
    """How long the value must stay beyond the limit."""
    off_delay: DurationUs = 0
    """How long the value must stay clear."""

    @model_validator(mode="after")
    def _one_side(self) -> "Alarm":
        if (self.above is None) == (self.below is None):
            raise ValueError("give either above or below")
        if (self.clear_above if self.below is None else self.clear_below) is not None:
            raise ValueError("clear_below goes with above, clear_above goes with below")
        if self.above is not None and self.clear_below is not None and self.clear_below > self.above:
            raise ValueError("clear_below must not lie above the limit")
        if self.below is not None and self.clear_above is not None and self.clear_above < self.below:
            raise ValueError("clear_above must not lie below the limit")
        return self

    @classmethod
    def check_item(cls, item: Item) -> None:
        if item.category != "SAMPLE":
            raise ValueError(f"an alarm watches a SAMPLE; the item is an {item.category}")

    def on_observation(self, metric: str, state: AlarmState, o: Observation, at: int) -> Changes:
        value = o.value
        if o.status >= UNCERTAIN or not isinstance(value, (int, float)):
            state.due = None
            return None
        wanted = self._wanted(state.active, value)
        if wanted == state.active:
            state.due = None
            return None
        if state.active is None and not wanted:
            return self._become(metric, state, False, at)
        if state.due is not None:
            return None
        delay = self.on_delay if wanted else self.off_delay
        if not delay:
            return self._become(metric, state, wanted, at)
        state.due = at + delay
        return None

    def on_time(self, metric: str, state: AlarmState, now: int) -> Changes:
        state.time = max(state.time, now)
        return self._become(metric, state, not state.active, now)

    def on_link(self, metric: str, state: AlarmState, source: str, available: bool, at: int) -> Changes:
        state.time = max(state.time, at)
        if not available:
            state.due = None
        return None

    def on_gap(self, metric: str, state: AlarmState, start: int, end: int) -> Changes:
        state.time, state.due = end, None
        return None

    def on_end(self, metric: str, state: AlarmState, at: int) -> Changes:
        if state.active is None:
            return None
        previous = ACTIVE if state.active else CLEAR
        return [Change(metric, None, previous, state.since, BAD_NOT_SUPPORTED, max(state.time, at))]

    def _wanted(self, active: bool | None, value: float) -> bool:
        if self.above is not None:
            if not active:
                return value > self.above
            return not value < (self.above if self.clear_below is None else self.clear_below)
        limit = self.below if self.below is not None else 0.0
        if not active:
            return value < limit
        return not value > (limit if self.clear_above is None else self.clear_above)

    def _become(self, metric: str, state: AlarmState, active: bool, at: int) -> Changes:
        previous = None if state.active is None else ACTIVE if state.active else CLEAR
        since = state.since
        state.active, state.since, state.due = active, at, None
        return [Change(metric, ACTIVE if active else CLEAR, previous, since, 0, at)]


Spec: Any = Alarm
