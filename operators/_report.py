"""Report by exception: which values of an item are published and which say nothing new.

`unchanged`: the same value and status again, and no new measurement: of an event always, of a sample when it was polled
(no device time, or the same one). `deadband`: a sample nearer to the last published value than its deadband (a change
of exactly the deadband is published). `redelivered`: the very observation that is already known, delivered again.

Always published: a changed status, the first value, a value received a heartbeat or more after the last published one,
and what is read anew after an outage. Readers forget a state when its link is lost, so they must be told that it is
still the same; flag initial says that it is no change, flag redelivered that it is the observation they had.
"""

from typing import Final, Literal

from assets.definition import Item
from assets.fields import Value
from assets.frame import Flag, Observation
from assets.reading import Reading
from operators._convert import converter

Rule = Literal["unchanged", "deadband", "redelivered"]

_AGAIN: Final = int(Flag.INITIAL | Flag.REPLAYED | Flag.REDELIVERED)
_INITIAL: Final = int(Flag.INITIAL)
_KEYFRAME: Final = int(Flag.KEYFRAME)
_REDELIVERED: Final = int(Flag.REDELIVERED)
_CLOCK_SKEW: Final = int(Flag.CLOCK_SKEW)
_ABOUT_THE_VALUE: Final = int(Flag.CLOCK_SKEW | Flag.SUBSTITUTED)
_ADDED: Final[dict[Rule, int]] = {
    "unchanged": int(Flag.INITIAL),
    "deadband": 0,
    "redelivered": int(Flag.INITIAL | Flag.REDELIVERED),
}
"""What is added to the flags of a value that is told only because it is the first after an outage."""
_ROUNDING: Final = 1 - 1e-9  # 80.1 - 80.0 is a little less than 0.1


class Channel:
    """One item of one asset as one source tells it: what was last known and last published of it."""

    __slots__ = (
        "_at",
        "_convert",
        "_deadband",
        "_event",
        "_heartbeat",
        "_known",
        "asset",
        "name",
        "outage",
        "published",
    )

    def __init__(self, asset: str, name: str, item: Item) -> None:
        self.asset = asset
        self.name = name
        self.published: Observation | None = None
        self.outage = False
        """Values were missed: the next one counts, whether changed or not."""
        self._at = 0
        self._known: tuple[Value, int, int | None] = (None, 0, None)
        self._convert = converter(item)
        self._event = item.category != "SAMPLE"
        self._deadband = (item.deadband or 0.0) * _ROUNDING if item.counter is None else 0.0
        self._heartbeat = item.heartbeat

    def take(self, reading: Reading, received: int, latest: int) -> Observation | Rule:
        """The observation to publish, or the rule by which there is none; raises `Refused`.

        A source time after `latest` is not believed (flag clock_skew).
        """
        value, status, flags = self._convert(reading.value, reading.status)
        time = reading.source_time
        flags |= reading.flags
        last = self.published
        if last is not None:
            rule = self._rule(value, status, time, flags, received, last)
            if rule is not None:
                if not self._confirms(rule, flags):
                    self._known = value, status, time
                    return rule
                flags |= _ADDED[rule]
        elif flags & _AGAIN and time is not None and time == self._known[2]:
            flags |= _REDELIVERED
        if time is not None and time > latest:
            flags |= _CLOCK_SKEW
        self.published = observation = Observation(self.name, value, status, time, flags)
        self._known = value, status, time
        self._at = received
        self.outage = False
        return observation

    def _rule(
        self, value: Value, status: int, time: int | None, flags: int, received: int, last: Observation
    ) -> Rule | None:
        known_value, known_status, known_time = self._known
        again = time is None or time == known_time
        if flags & _AGAIN and time is not None and again and status == known_status and _same(value, known_value):
            return "redelivered"
        if status != last.status:
            return None
        if self._heartbeat is not None and not 0 <= received - self._at < self._heartbeat:
            return None  # due, or the gateway's clock was set back
        if (self._event or again or value is None) and _same(value, last.value):
            return "unchanged"
        if self._deadband and _near(value, last.value, self._deadband):
            return "deadband"
        return None

    def _confirms(self, rule: Rule, flags: int) -> bool:
        """Whether a value that says nothing new must be told all the same; replayed history says nothing of now."""
        return self.outage and (rule != "redelivered" or flags & _INITIAL != 0)

    def seed(self, last: Observation, *, stale: bool = False) -> None:
        """Take over what an earlier run published last; the next value counts as the first after an outage.

        One that is `stale` only serves to know it again: as a value of the item that it is now it was never published.
        """
        self.published = None if stale else last
        self._known = last.value, last.status, last.source_time
        self._at = last.time
        self.outage = True

    def key(self) -> Observation | None:
        """The last published value again, for a key frame."""
        last = self.published
        if last is None:
            return None
        return Observation(
            self.name, last.value, last.status, last.source_time, last.flags & _ABOUT_THE_VALUE | _KEYFRAME
        )


def _same(value: Value, other: Value) -> bool:
    return value == other and type(value) is type(other)  # 1, 1.0 and true are different values


def _near(value: Value, other: Value, deadband: float) -> bool:
    return isinstance(value, int | float) and isinstance(other, int | float) and abs(value - other) < deadband
