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
        self._started = False
        self._interval: int | None = None
        self._interval_us = interval_us
        self._phase_us = murmur2(asset.encode()) * interval_us >> 32

    def key_due(self, at: int) -> bool:
        """Whether to write a key frame now: the first when there are values, then one per interval, staggered."""
        before, self._interval = self._interval, (at - self._phase_us) // self._interval_us
        if not self._started and any(channel.published for channel in self.channels):
            self._started = True
            return True
        return before is not None and before != self._interval  # also when the clock was set back

    def key(self) -> list[Observation]:
        """All that is known, to start reading from; the sequencer fills in the definition."""
        observations = [Observation(MODEL, None, 0, None, _KEYFRAME)]
        if self.availability is not None:
            observations.append(Observation(AVAILABILITY, self.availability, 0, None, _KEYFRAME))
        return observations + [o for channel in self.channels if (o := channel.key()) is not None]
