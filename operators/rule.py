"""What a `derive:` rule is: options shared by all assets of a definition, and a small state per asset and metric.

A rule kind is a public module of this folder that names its class `Spec`; the kind is the module's name. Adding one is
adding a file.
"""

from typing import Any, ClassVar, Final

import msgspec
from pydantic import BaseModel, ConfigDict

from assets.definition import Definition, Item
from assets.frame import CLOCK_SKEW, NO_SAMPLE, Flag, Observation
from operators.asset_logic import Changes

KEYFRAME: Final = int(Flag.KEYFRAME)


class RuleState(msgspec.Struct):
    """What every rule remembers (us, event time); a kind adds fields and a tag.

    `due`: when `on_time` is wanted; `sample`: the watched item's newest observation; `time`: the newest effect.
    """

    due: int | None = None
    sample: int = 0
    time: int = 0


class Rule(BaseModel):
    """A rule: its options are the fields, its logic the hooks, which change `state` and return what changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    State: ClassVar[type[RuleState]]
    version: ClassVar[int] = 1
    """Written with every change; raise it when the same input gives other output."""

    item: str
    """The item the rule watches."""

    @classmethod
    def check_item(cls, item: Item) -> None:
        """Raise ValueError when the rule cannot watch this item."""

    def on_observation(self, metric: str, state: Any, o: Observation) -> Changes:
        """A value of the watched item arrived."""

    def on_time(self, metric: str, state: Any, now: int) -> Changes:
        """The instant in `state.due` has come; `due` is None again."""

    def on_link(self, metric: str, state: Any, source: str, available: bool, at: int) -> Changes:
        """The link to the watched item's source was lost or came back."""

    def on_end(self, metric: str, state: Any, at: int) -> Changes:
        """The rule is no longer in force: say that its metric is not known any more."""

    def source(self, definition: Definition) -> str | None:
        """The source whose link matters to this rule; None: all of the asset's sources."""
        item = definition.items.get(self.item)
        return item.source if item else definition.source


def effect_time(state: RuleState, o: Observation) -> int | None:
    """When an observation takes effect, or None if it has none: it is late, or repeats what is known.

    Lateness is judged against the item's own observations. A first value after a reconnect is taken even when its
    source time is old, but no effect lies before an earlier one, so the changes of a metric stay in order.
    """
    time, flags = o.time, o.flags
    if flags & NO_SAMPLE:
        if flags & KEYFRAME and state.sample:
            return None
    elif time < state.sample and not flags & CLOCK_SKEW:
        return None
    if not flags & CLOCK_SKEW:  # a time by the gateway's clock says nothing about the order of the device's
        state.sample = time
    state.time = max(state.time, time)
    return state.time
