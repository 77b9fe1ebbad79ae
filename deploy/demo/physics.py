"""Physics and bookkeeping of one machine as a pure function of (seed, time since the start).

A machine lives through steps. During a step its setpoint is a straight line, its temperature follows the setpoint
(plus a disturbance) with a first-order lag, parts leave at an even pace and power is constant, so every value has a
closed form: nothing is integrated numerically and no instant depends on how often one looks.
"""

import math
import zlib
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

SECOND_US = 1_000_000
SCAN_US = 100_000
"""A device's scan cycle: every true change falls on a multiple of it."""
_KEPT_SEGMENTS = 1_000
_MASK = (1 << 64) - 1


class Step(NamedTuple):
    """One phase of work: `setpoint` at its begin, its `slope` per second, and what else goes on meanwhile."""

    name: str
    duration_us: int
    setpoint: float
    slope: float = 0.0
    disturbance: float = 0.0
    part_us: int = 0
    power_kw: float = 0.0


class Moment(NamedTuple):
    """What is true of a machine at one instant."""

    name: str
    since_us: int
    setpoint: float
    temperature: float
    parts: int
    power_kw: float
    energy_kws: float


class _Segment(NamedTuple):
    start_us: int
    step: Step
    temperature: float
    parts: int
    energy_kws: float


def stream(seed: int, name: str) -> int:
    """The number that names one machine's random numbers."""
    return zlib.crc32(f"{seed}/{name}".encode())


def uniform(stream_id: int, *keys: int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments (splitmix64)."""
    x = stream_id
    for key in keys:
        x = (x * 0x100000001B3 + key + 0x9E3779B97F4A7C15) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        x ^= x >> 31
    return x / (_MASK + 1)


def between(low_s: float, high_s: float, share: float) -> int:
    """The duration at `share` of the way between two, in us, on the scan cycle and at least four scans long."""
    return max(4, round((low_s + (high_s - low_s) * share) * SECOND_US / SCAN_US)) * SCAN_US


def lag(start: float, target: float, slope: float, elapsed_s: float, tau_s: float) -> float:
    """First-order response to a target that stands at `target` now and moves by `slope` per second."""
    steady = target + slope * (elapsed_s - tau_s)
    return steady + (start - target + slope * tau_s) * math.exp(-elapsed_s / tau_s)


class Track:
    """The life of one machine: `episode(k)` gives its k-th group of steps; `at` tells what is true at any instant.

    Segments are worked out as time goes on and old ones forgotten; asking for the past starts again from zero.
    """

    def __init__(self, episode: Callable[[int], list[Step]], tau_s: float, temperature: float, parts: int = 0) -> None:
        self._episode = episode
        self._tau_s = tau_s
        self._first = (temperature, parts)
        self._reset()

    def _reset(self) -> None:
        self._episodes = 0
        self._segments: list[_Segment] = []
        self._starts: list[int] = []
        self._end = _Segment(0, Step("", 0, 0.0), *self._first, 0.0)

    def at(self, time_us: int) -> Moment:
        """What is true at `time_us` after the start."""
        if self._starts and time_us < self._starts[0]:
            self._reset()
        while time_us >= self._end.start_us:
            self._extend()
        return self._moment(self._segments[bisect_right(self._starts, time_us) - 1], time_us)

    def _extend(self) -> None:
        for step in self._episode(self._episodes):
            segment = self._end._replace(step=step)
            end_us = segment.start_us + step.duration_us
            after = self._moment(segment, end_us)
            self._segments.append(segment)
            self._starts.append(segment.start_us)
            self._end = _Segment(end_us, step, after.temperature, after.parts, after.energy_kws)
        self._episodes += 1
        if len(self._segments) > 2 * _KEPT_SEGMENTS:
            del self._segments[:_KEPT_SEGMENTS], self._starts[:_KEPT_SEGMENTS]

    def _moment(self, segment: _Segment, time_us: int) -> Moment:
        step, elapsed_us = segment.step, time_us - segment.start_us
        elapsed_s = elapsed_us / SECOND_US
        target = step.setpoint + step.disturbance
        return Moment(
            step.name,
            segment.start_us,
            step.setpoint + step.slope * elapsed_s,
            lag(segment.temperature, target, step.slope, elapsed_s, self._tau_s),
            segment.parts + (elapsed_us // step.part_us if step.part_us else 0),
            step.power_kw,
            segment.energy_kws + step.power_kw * elapsed_s,
        )
