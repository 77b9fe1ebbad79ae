"""What the live table knows: messages of the live stream folded into assets, their states, values, alarms and gaps.

Pure: it reads no clock and draws nothing. Instants are microseconds since 1970, as in the messages.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from assets.definition import Definition
from assets.frame import ContractError
from assets.stream import AVAILABILITY, AVAILABLE, GAP, MODEL, UNAVAILABLE
from operators.live_values import ObservationPayload, StatePayload

GAPS_KEPT: Final = 20
DURATIONS: Final = "durations"
ALARM: Final = "alarm"
ACTIVE: Final = "ACTIVE"

_observation = msgspec.json.Decoder(ObservationPayload)
_state = msgspec.json.Decoder(StatePayload)


@dataclass(frozen=True)
class Gap:
    """Observations of an asset that could not be had."""

    asset: str
    start: int
    end: int
    reason: str
    lost: int | None


@dataclass(frozen=True)
class ActiveAlarm:
    """An alarm in force: its metric, the item it watches, since when."""

    asset: str
    metric: str
    item: str
    since: int


@dataclass
class Asset:
    """One asset: its definition and the newest message of each of its items and metrics."""

    name: str
    path: str = ""
    definition: Definition = field(default_factory=lambda: Definition(type="", path=""))
    values: dict[str, ObservationPayload] = field(default_factory=dict)
    metrics: dict[str, StatePayload] = field(default_factory=dict)

    @property
    def available(self) -> bool:
        """Whether it can be reached; an asset nothing was said of yet cannot."""
        said = self.metrics.get("availability")
        if said is not None:
            return said.value != UNAVAILABLE
        observed = self.values.get(AVAILABILITY)
        return observed is None or observed.value == AVAILABLE

    @property
    def state(self) -> StatePayload | None:
        """The metric that says what it is doing: its first rule of durations, by name."""
        return next((self.metrics[m] for m in self._rules(DURATIONS) if m in self.metrics), None)

    @property
    def vocabulary(self) -> str | None:
        """The vocabulary that the words of `state` are from, if it is a standard one."""
        state = self.state
        item = "" if state is None else str(self.definition.derive.get(state.metric, {}).get("item", ""))
        return self.definition.items[item].states if item in self.definition.items else None

    @property
    def since(self) -> int | None:
        """The instant of its last change of state, or of its availability while it cannot be reached."""
        changed = self.state if self.available else self.metrics.get("availability") or self.state
        return None if changed is None else changed.time

    @property
    def alarms(self) -> list[ActiveAlarm]:
        """Its alarms in force."""
        return [
            ActiveAlarm(self.name, metric, str(self.definition.derive[metric].get("item", "")), said.time)
            for metric in self._rules(ALARM)
            if (said := self.metrics.get(metric)) is not None and said.value == ACTIVE
        ]

    @property
    def items(self) -> list[str]:
        """Its items worth a column, the most telling first: those with an alarm, other samples, then what is left.

        What is shown as its state already is left out.
        """
        rules = self.definition.derive.values()
        alarmed = {rule.get("item") for rule in rules if rule.get("rule") == ALARM}
        states = {rule.get("item") for rule in rules if rule.get("rule") == DURATIONS}
        names = [*self.definition.items, *(n for n in self.values if n not in self.definition.items and n[0] != "_")]
        return sorted((n for n in names if n not in states), key=lambda n: (n not in alarmed, self._rank(n), n))

    def _rank(self, name: str) -> int:
        item = self.definition.items.get(name)
        if item is None or item.category != "SAMPLE":
            return 2
        return 0 if item.counter is None and item.range is not None else 1

    def _rules(self, kind: str) -> list[str]:
        return sorted(metric for metric, rule in self.definition.derive.items() if rule.get("rule") == kind)


class LiveModel:
    """All assets, folded message by message; a message that cannot be read is counted and changes nothing."""

    def __init__(self) -> None:
        self.assets: dict[str, Asset] = {}
        self.gaps: deque[Gap] = deque(maxlen=GAPS_KEPT)
        self.gap_count = 0
        self.unreadable = 0

    def take(self, subject: str, payload: bytes) -> None:
        """The newest message of a subject."""
        try:
            if subject.startswith("state."):
                self._state(_state.decode(payload))
            else:
                self._observation(_observation.decode(payload))
        except (msgspec.DecodeError, ContractError):
            self.unreadable += 1

    def _state(self, said: StatePayload) -> None:
        self._asset(said.asset).metrics[said.metric] = said

    def _observation(self, o: ObservationPayload) -> None:
        asset = self._asset(o.asset)
        if o.item == MODEL:
            asset.definition = Definition.from_value(o.value)
            asset.path = asset.definition.path
        elif o.item == GAP:
            self._gap(o)
        else:
            asset.values[o.item] = o

    def _gap(self, o: ObservationPayload) -> None:
        value: dict[str, Any] = o.value if isinstance(o.value, dict) else {}
        gap = Gap(
            o.asset, value.get("from", o.time), value.get("to", o.time), str(value.get("reason", "")), value.get("lost")
        )
        if gap not in self.gaps:
            self.gap_count += 1
            self.gaps.append(gap)

    def _asset(self, name: str) -> Asset:
        if name not in self.assets:
            self.assets[name] = Asset(name)
        return self.assets[name]
