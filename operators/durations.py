"""How long an item stays in each state: one event per change, bearing the interval that ended.

The sum of all intervals is the time observed. Without a good value, or without the link to the device, the state is
not known: the interval ends there and then, and an unknown one begins (state is never carried over a hole).
"""

from typing import Any

from assets.fields import Value
from assets.frame import Observation
from assets.status import BAD_NO_COMMUNICATION, BAD_NO_DATA, BAD_NOT_SUPPORTED, UNCERTAIN
from operators.asset_logic import Change, Changes
from operators.rule import Rule, RuleState


class DurationsState(RuleState, tag="durations"):
    """The state in force and since when; `since` None: nothing is known yet."""

    value: Value = None
    since: int | None = None


class Durations(Rule):
    """`running: {durations: state}`: the metric follows the item; Uncertain counts as not known (OPC UA Part 13)."""

    State = DurationsState

    def on_observation(self, metric: str, state: DurationsState, o: Observation, at: int) -> Changes:
        value = o.value if o.status < UNCERTAIN else None
        if value == state.value and state.since is not None:
            return None
        return self._become(metric, state, value, o.status, at)

    def on_link(self, metric: str, state: DurationsState, source: str, available: bool, at: int) -> Changes:
        state.time = at = max(state.time, at)
        return None if available else self._become(metric, state, None, BAD_NO_COMMUNICATION, at)

    def on_gap(self, metric: str, state: DurationsState, start: int, end: int) -> Changes:
        at, state.time = max(state.time, start), end
        return self._become(metric, state, None, BAD_NO_DATA, at)

    def on_end(self, metric: str, state: DurationsState, at: int) -> Changes:
        return self._become(metric, state, None, BAD_NOT_SUPPORTED, max(state.time, at))

    def _become(self, metric: str, state: DurationsState, value: Value, status: int, at: int) -> Changes:
        previous, since = state.value, state.since
        if since is None and value is None:
            return None
        if since is not None and value == previous:
            return None
        state.value, state.since = value, at
        return [Change(metric, value, previous, since, 0 if value is not None else status, at)]


Spec: Any = Durations
