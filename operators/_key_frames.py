"""Key frames: from time to time an asset repeats all its current values, so that a reader may start there."""

from typing import Final

from assets.frame import Flag, Observation
from assets.stream import AVAILABILITY, MODEL, murmur2
from operators._report import Channel

_KEYFRAME: Final = int(Flag.KEYFRAME)


class KeyFrames:
    """What one source tells of one asset, and when all of it is due again."""

    def __init__(self, asset: str, interval_us: int) -> None:
        self.asset = asset
        self.channels: list[Channel] = []
        self.availability: str | None = None
        self.started = False
        self.next_key_at: int | None = None
        self._interval_us = interval_us
        self._phase_us = murmur2(asset.encode()) * interval_us >> 32

    def key_due(self, at: int) -> bool:
        """Whether to write a key frame now: the first when there are values, then one per interval, staggered."""
        first = not self.started and any(channel.published for channel in self.channels)
        due = first or (self.next_key_at is not None and at >= self.next_key_at)
        if due or self.next_key_at is None:
            self.next_key_at = at + self._interval_us - (at - self._phase_us) % self._interval_us
        self.started = self.started or first
        return due

    def key(self) -> list[Observation]:
        """All that is known, to start reading from; the sequencer fills in the definition."""
        observations = [Observation(MODEL, None, 0, None, _KEYFRAME)]
        if self.availability is not None:
            observations.append(Observation(AVAILABILITY, self.availability, 0, None, _KEYFRAME))
        return observations + [o for channel in self.channels if (o := channel.key()) is not None]
