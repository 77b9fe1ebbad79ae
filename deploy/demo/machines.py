"""The twelve machines: presses, furnaces and conveyors, each a function of time that returns what its items are worth.

Cycles are short so that a minute shows several states and at least one alarm on every machine.
"""

from collections.abc import Callable

from deploy.demo import packml
from deploy.demo.packml import State
from deploy.demo.physics import Moment, Step, Track, between, stream, uniform

Value = float | int | str | bool
COUNTERS = {"parts": 65536}
"""Items that count, with the modulus of the register that shows them; here they are totals."""
METER_US = 500_000
"""Meters and drives refresh their measured values twice a second."""
KWS_PER_WH = 3.6
FIRST_PARTS = {"conveyor-02": 30_000}
"""Counters start shortly before their rollover, except the one that a fault resets (the two must not look alike)."""


class Press:
    """A PackML press; its tool warms up while it executes and cools in every other state."""

    TAU_S = 6.0
    COLD, HOT = 40.0, 105.0

    def __init__(self, seed: int, name: str) -> None:
        self.name = name
        self._stream = stream(seed, name)
        self._track = Track(self._episode, self.TAU_S, self.COLD)

    def _episode(self, k: int) -> list[Step]:
        steps = [self._pause(state, k, n) for n, state in enumerate(packml.BEFORE_FIRST_RUN)] if k == 0 else []
        steps.append(self._execute(k))
        way = packml.INTERRUPTIONS[int(uniform(self._stream, k, 1) * len(packml.INTERRUPTIONS))]
        return steps + [self._pause(state, k, 10 + n) for n, state in enumerate(way)]

    def _execute(self, k: int) -> Step:
        long_run = k == 0 or uniform(self._stream, k, 2) < 0.6
        span_s = (16.0, 20.0) if long_run else (6.0, 9.0)
        duration_us = between(*span_s, uniform(self._stream, k, 3))
        return Step(State.Execute.name, duration_us, self.HOT, part_us=1_200_000, power_kw=30.0)

    def _pause(self, state: State, k: int, n: int) -> Step:
        span_s, power_kw = ((1.5, 4.0), 3.0) if state in packml.WAITING else ((0.5, 1.0), 12.0)
        return Step(state.name, between(*span_s, uniform(self._stream, k, n)), self.COLD, power_kw=power_kw)

    def at(self, time_us: int) -> dict[str, Value]:
        """The items' values at `time_us` after the start."""
        now = self._track.at(time_us)
        return {
            "state": State[now.name].value,
            "mode": 1,
            "temperature": round(now.temperature + _noise(self._stream, time_us, 0.15), 4),
            "force": round(180.0 + 8.0 * uniform(self._stream, now.parts, 4), 2) if now.parts else 0.0,
            "parts": now.parts,
            **_meter(self._stream, now, time_us),
        }

    def clean(self, time_us: int) -> dict[str, float]:
        """The true continuous values without measuring noise."""
        return {"temperature": self._track.at(time_us).temperature}


class Furnace:
    """A batch furnace that charges, ramps, soaks and cools; now and then its burner sticks during the soak."""

    TAU_S = 3.0
    COLD, SOAK, STUCK = 400.0, 850.0, 110.0

    def __init__(self, seed: int, name: str) -> None:
        self.name = name
        self._stream = stream(seed, name)
        self._track = Track(self._episode, self.TAU_S, self.COLD)

    def _episode(self, k: int) -> list[Step]:
        ramp_us, cool_us = self._span(8.0, 11.0, k, 1), self._span(7.0, 9.0, k, 2)
        rise = self.SOAK - self.COLD
        stuck = k == 0 or uniform(self._stream, k, 3) < 0.5
        steps = [
            Step("Charge", self._span(2.0, 6.0, k, 4), self.COLD, power_kw=10.0),
            Step("Ramp", ramp_us, self.COLD, slope=rise * 1e6 / ramp_us, power_kw=60.0),
            Step("Soak", self._span(3.0, 4.0, k, 5), self.SOAK, power_kw=35.0),
        ]
        if stuck:
            steps.append(Step("Soak", self._span(6.5, 8.0, k, 6), self.SOAK, disturbance=self.STUCK, power_kw=75.0))
        steps.append(Step("Soak", self._span(4.0, 5.0, k, 7), self.SOAK, power_kw=35.0))
        return [*steps, Step("Cool", cool_us, self.SOAK, slope=-rise * 1e6 / cool_us, power_kw=5.0)]

    def _span(self, low_s: float, high_s: float, k: int, n: int) -> int:
        return between(low_s, high_s, uniform(self._stream, k, n))

    def at(self, time_us: int) -> dict[str, Value]:
        """The items' values at `time_us` after the start."""
        now = self._track.at(time_us)
        return {
            "phase": now.name,
            "setpoint": round(now.setpoint, 1),
            "temperature": round(now.temperature + _noise(self._stream, time_us, 0.8), 4),
            "door_open": now.name == "Charge",
            **_meter(self._stream, now, time_us),
        }

    def clean(self, time_us: int) -> dict[str, float]:
        """The true continuous values without measuring noise."""
        return {"temperature": self._track.at(time_us).temperature}


class Conveyor:
    """A conveyor that runs, jams and is cleared; while it is jammed its motor overheats."""

    TAU_S = 5.0
    AMBIENT, RUNNING, JAMMED = 30.0, 60.0, 110.0
    STATES = ("Stopped", "Running", "Jammed")

    def __init__(self, seed: int, name: str) -> None:
        self.name = name
        self._stream = stream(seed, name)
        before_rollover = 40 + int(60 * uniform(self._stream, 0, 9))
        parts = FIRST_PARTS.get(name, 65536 - before_rollover)
        self._track = Track(self._episode, self.TAU_S, self.AMBIENT, parts)

    def _episode(self, k: int) -> list[Step]:
        jam_us = self._span(8.0, 10.0, k, 2)
        return [
            Step("Running", self._span(10.0, 16.0, k, 1), self.RUNNING, part_us=250_000, power_kw=1.5),
            Step("Jammed", jam_us, self.JAMMED, power_kw=4.0),
            Step("Stopped", self._span(4.0, 6.0, k, 3), self.AMBIENT, power_kw=0.1),
        ]

    def _span(self, low_s: float, high_s: float, k: int, n: int) -> int:
        return between(low_s, high_s, uniform(self._stream, k, n))

    def at(self, time_us: int) -> dict[str, Value]:
        """The items' values at `time_us` after the start."""
        now = self._track.at(time_us)
        speed = 0.5 + _noise(self._stream, time_us // METER_US, 0.02) if now.name == "Running" else 0.0
        return {
            "state": self.STATES.index(now.name),
            "parts": now.parts,
            "speed": round(speed, 3),
            "motor_temperature": round(now.temperature, 1),
            "drive_on": now.name != "Stopped",
            "jam": now.name == "Jammed",
            **_meter(self._stream, now, time_us),
        }

    def clean(self, time_us: int) -> dict[str, float]:
        """The true continuous values without rounding."""
        return {"motor_temperature": self._track.at(time_us).temperature}


class Plant:
    """All twelve machines of one seed."""

    def __init__(self, seed: int) -> None:
        makers: dict[str, Callable[[int, str], Press | Furnace | Conveyor]]
        makers = {"press": Press, "furnace": Furnace, "conveyor": Conveyor}
        names = [(kind, f"{kind}-{n:02d}") for kind in makers for n in range(1, 5)]
        self.machines = {name: makers[kind](seed, name) for kind, name in names}

    def at(self, time_us: int) -> dict[tuple[str, str], Value]:
        """(asset, item) -> value at `time_us` after the start."""
        return {(name, item): v for name, m in self.machines.items() for item, v in m.at(time_us).items()}

    def clean(self, time_us: int) -> dict[tuple[str, str], float]:
        """(asset, item) -> true continuous value, for the items that alarms watch."""
        return {(name, item): v for name, m in self.machines.items() for item, v in m.clean(time_us).items()}


def _noise(stream_id: int, time: int, width: float) -> float:
    return (2.0 * uniform(stream_id, time, 7) - 1.0) * width


def _meter(stream_id: int, now: Moment, time_us: int) -> dict[str, Value]:
    share = 1.0 + _noise(stream_id, time_us // METER_US, 0.02)
    return {"power": round(now.power_kw * share, 3), "energy": int(now.energy_kws / KWS_PER_WH)}
