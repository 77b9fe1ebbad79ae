"""How often an item has entered one of its states: `starts: {entries: state, into: Execute}`."""

from typing import Any

from assets.definition import Item
from assets.fields import Value
from assets.frame import Observation
from assets.status import is_good
from operators.asset_logic import Change, Changes
from operators.rule import Rule, RuleState


class EntriesState(RuleState, tag="entries"):
    """The last good value and the number of entries so far; None: no good value yet."""

    value: Value = None
    count: int = 0


class Entries(Rule):
    """Counts changes into one value; the first value known is no entry."""

    State = EntriesState

    into: str
    """The value whose entries count."""

    @classmethod
    def check_item(cls, item: Item) -> None:
        if item.category != "EVENT":
            raise ValueError(f"entries watches an EVENT; the item is a {item.category}")

    def on_observation(self, metric: str, state: EntriesState, o: Observation, at: int) -> Changes:
        if not is_good(o.status):
            return None
        before, state.value = state.value, o.value
        if before is None or o.value != self.into or before == self.into:
            return None
        state.count += 1
        return [Change(metric, state.count, previous=state.count - 1, time=at)]


Spec: Any = Entries
