"""Whether an asset can be reached (MTConnect Availability), from `_availability` and ticks.

The link of the asset's own source decides; an asset without one needs all its sources. A killed gateway shows in the
stream as a source that ticks no longer name, so the asset is lost `ttl` later, by stream time alone.
"""

from typing import Any

from assets.definition import Definition
from assets.frame import Value
from assets.stream import AVAILABLE, GONE, UNAVAILABLE
from operators.asset_logic import Change, Changes
from operators.rule import Rule, RuleState


class AvailabilityState(RuleState, tag="availability"):
    """What was said last and since when, and how many of the sources that matter are lost."""

    value: Value = None
    since: int | None = None
    lost: list[str] = []


class Availability(Rule):
    """`availability: {availability: }`: every asset has this rule; the metric is AVAILABLE, UNAVAILABLE or REMOVED."""

    State = AvailabilityState

    item: str = ""
    """Nothing to watch: the rule follows links."""

    def on_link(self, metric: str, state: AvailabilityState, source: str, available: bool, at: int) -> Changes:
        state.lost = sorted({*state.lost, source} - ({source} if available else set()))
        return self._become(metric, state, UNAVAILABLE if state.lost else AVAILABLE, at)

    def on_removed(self, metric: str, state: AvailabilityState, at: int) -> Changes:
        return self._become(metric, state, GONE, at)

    def _become(self, metric: str, state: AvailabilityState, value: str, at: int) -> Changes:
        if value == state.value:
            return None
        previous, since, at = state.value, state.since, max(state.time, at)
        state.value, state.since, state.time = value, at, at
        return [Change(metric, value, previous, since, 0, at)]

    def source(self, definition: Definition) -> str | None:
        return definition.source


Spec: Any = Availability
