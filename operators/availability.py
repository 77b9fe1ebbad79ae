"""Whether an asset can be reached (MTConnect Availability), from `_availability` and ticks.

The link of the asset's own source decides; an asset without one needs all its sources. A killed gateway shows in the
stream as a source that ticks no longer name, so the asset is lost `ttl` later, by stream time alone.
"""

from collections.abc import Mapping
from typing import Any

from assets.definition import Definition
from assets.fields import Value
from assets.stream import AVAILABLE, GONE, UNAVAILABLE
from operators.asset_logic import Change, Changes
from operators.rule import Rule, RuleState


class AvailabilityState(RuleState, tag="availability"):
    """What was said last and since when, and which of the sources that matter are linked."""

    value: Value = None
    since: int | None = None
    links: dict[str, bool] = {}


class Availability(Rule):
    """`availability: {availability: }`: every asset has this rule; the metric is AVAILABLE, UNAVAILABLE or REMOVED."""

    State = AvailabilityState

    item: str = ""
    """Nothing to watch: the rule follows links."""

    def on_link(self, metric: str, state: AvailabilityState, source: str, available: bool, at: int) -> Changes:
        state.links[source] = available
        return self._become(metric, state, _reached(state.links), at)

    def on_source_left(self, metric: str, state: AvailabilityState, source: str, at: int) -> Changes:
        state.links.pop(source, None)
        return self._become(metric, state, _reached(state.links), at) if state.value is not None else None

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


def _reached(links: Mapping[str, bool]) -> str:
    return AVAILABLE if links and all(links.values()) else UNAVAILABLE


Spec: Any = Availability
