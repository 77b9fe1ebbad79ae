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

    def on_observation(self, metric: str, state: Any, o: Observation, at: int) -> Changes:
        """A value of the watched item takes effect at `at` (us), never before an earlier effect.

        What is late against the item's own observations, or repeats what is known, does not come here.
        """

    def on_time(self, metric: str, state: Any, now: int) -> Changes:
        """The instant in `state.due` has come; `due` is None again."""

    def on_link(self, metric: str, state: Any, source: str, available: bool, at: int) -> Changes:
        """The link to the watched item's source was lost or came back."""

    def on_source_left(self, metric: str, state: Any, source: str, at: int) -> Changes:
        """A changed definition reads the watched item from another source; until that speaks nothing is known."""
        return self.on_link(metric, state, source, False, at)

    def on_gap(self, metric: str, state: Any, start: int, end: int) -> Changes:
        """The watched item could not be read between two instants, and nothing newer has taken effect."""

    def on_end(self, metric: str, state: Any, at: int) -> Changes:
        """The rule is no longer in force: say that its metric is not known any more."""

    def on_removed(self, metric: str, state: Any, at: int) -> Changes:
        """The asset is gone from the plant; says what `on_end` says unless a kind knows more."""
        return self.on_end(metric, state, at)

    def source(self, definition: Definition) -> str | None:
        """The source whose link matters to this rule; None: all of the asset's sources."""
        item = definition.items.get(self.item)
        return item.source if item else definition.source


def counts(state: RuleState, o: Observation, time: int) -> bool:
    """Whether a flagged observation has an effect; notes its time.

    A first value after a reconnect counts though its source time is old; a key frame only tells whoever knows nothing.
    A time by the gateway's clock (skewed) says nothing of the device's order, and without any other the stream's holds.
    """
    flags = o.flags
    if flags & NO_SAMPLE:
        if flags & KEYFRAME and state.sample:
            return False
    elif time < state.sample and o.source_time is not None and not flags & CLOCK_SKEW:
        return False
    if not flags & CLOCK_SKEW:
        state.sample = time
    return True
