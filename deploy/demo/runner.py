"""The running plant: each scan it lets the devices tell what is true, acts out the faults and writes the truth."""

import time
from collections.abc import Callable
from pathlib import Path

from deploy.demo import faults, registers, rules, site
from deploy.demo.devices import Counters, Key, Served, tell
from deploy.demo.faults import Fault, Kind
from deploy.demo.machines import COUNTERS, Plant, Value
from deploy.demo.modbus_server import Mood
from deploy.demo.physics import SCAN_US, SECOND_US
from deploy.demo.truth import Truth

MOODS = {Kind.NO_REPLY: Mood.SILENT, Kind.DEAD_UNIT: Mood.DEAD}
STATES = {"press": "state", "furnace": "phase", "conveyor": "state"}
"""Type -> the item that says what the machine is doing."""


def now_us() -> int:
    """The wall clock, in microseconds since 1970."""
    return time.time_ns() // 1_000


class Runner:
    """Four servers, one plant, one truth file in `folder`; `step` is called once per scan with the time since start."""

    def __init__(self, seed: int, ports: list[int], folder: Path, clock: Callable[[], int] = now_us) -> None:
        self.plant = Plant(seed)
        self.rules = rules.load(site.PLANT)
        self.opcua = site.opcua_servers(self.plant, ports[:2])
        self.modbus = site.modbus_servers(ports[2:])
        self.truth = Truth(folder / "truth.jsonl")
        self.start_us = 0
        self._seed = seed
        self._clock = clock
        self._counters = Counters(self.plant)
        self._active: dict[Fault, int] = {}
        self._told: dict[Key, Served] = {}
        self._shown: dict[Key, Value | None] = {}
        self._true: dict[Key, Value] = {}
        self._over: dict[tuple[str, str], bool] = {}

    async def start(self) -> None:
        """Start all servers; the plant's time begins when they answer."""
        for opcua in self.opcua.values():
            await opcua.start({})
        for modbus in self.modbus.values():
            await modbus.start()
        self.start_us = self._clock() // SCAN_US * SCAN_US
        self.truth.write("start", seed=self._seed, at=self.start_us, scan_us=SCAN_US)
        await self.step(0)

    async def step(self, time_us: int) -> None:
        """Let one scan happen."""
        values = tell(self.plant, self._counters, time_us, self.start_us)
        await self._act_out_faults(time_us, values)
        frozen = {fault.target for fault in self._active if fault.kind is Kind.FROZEN}
        for name, server in self.opcua.items():
            if server.running and name not in frozen:
                await self._serve(name, values, time_us)
        for name in self.modbus:
            self._fill(name, values, time_us)
        self._write_truth(time_us)
        if time_us % SECOND_US == 0:
            self.truth.flush()

    async def stop(self) -> None:
        """Stop all servers and complete the truth."""
        for opcua in self.opcua.values():
            await opcua.stop()
        for modbus in self.modbus.values():
            await modbus.stop()
        for fault, begun in self._active.items():
            self._write_fault(fault, begun, self._clock())
        self.truth.write("end", at=self._clock())
        self.truth.close()

    async def _serve(self, name: str, values: dict[Key, Served], time_us: int) -> None:
        server = self.opcua[name]
        for key in server.types:
            served, before = values[key], self._told.get(key)
            if before is None or before[:2] != served[:2]:
                self._tell_truth(name, key, served, time_us)
                await server.write(key, served)

    def _tell_truth(self, source: str, key: Key, served: Served, time_us: int) -> None:
        self._told[key] = served
        told = {"value": served.value, "status": served.status, "source_time": served.source_time}
        self.truth.write("served", source=source, asset=key[0], item=key[1], **told, at=self.start_us + time_us)

    def _fill(self, name: str, values: dict[Key, Served], time_us: int) -> None:
        for unit, (asset, registers_of_unit) in site.MODBUS[name].items():
            for item, register in registers_of_unit.items():
                key, value = (asset, item), values[asset, item].value
                if value is not None and self._shown.get(key) != value:
                    self._shown[key] = value
                    registers.write(self.modbus[name].units[unit], register, value)
                    at = self.start_us + time_us
                    self.truth.write("register", source=f"{name}/{unit}", asset=asset, item=item, value=value, at=at)

    async def _act_out_faults(self, time_us: int, values: dict[Key, Served]) -> None:
        active = faults.active(time_us)
        for fault in sorted(set(self._active) - active):
            await self._set(fault, False, values, time_us)
            self._write_fault(fault, self._active.pop(fault), self._clock())
        for fault in sorted(active - set(self._active)):
            self._active[fault] = self._clock()
            self._write_fault(fault, self._active[fault], None)
            await self._set(fault, True, values, time_us)

    async def _set(self, fault: Fault, begins: bool, values: dict[Key, Served], time_us: int) -> None:
        if fault.kind in MOODS:
            server, unit = fault.target.split("/")
            self.modbus[server].units[int(unit)].mood = MOODS[fault.kind] if begins else Mood.WELL
        elif fault.kind is Kind.RESTART and begins:
            await self.opcua[fault.target].stop()
        elif fault.kind is Kind.RESTART:
            await self._start_again(fault.target, values, time_us)

    async def _start_again(self, name: str, values: dict[Key, Served], time_us: int) -> None:
        server = self.opcua[name]
        for key in server.types:
            self._tell_truth(name, key, values[key], time_us)
        await server.start({key: values[key] for key in server.types})

    def _write_fault(self, fault: Fault, begin: int, end: int | None) -> None:
        self.truth.write("fault", fault=fault.kind.value, target=fault.target, **{"from": begin, "to": end})

    def _write_truth(self, time_us: int) -> None:
        at = self.start_us + time_us
        for (asset, item), value in self.plant.at(time_us).items():
            type_ = asset.rsplit("-", 1)[0]
            if (item == STATES[type_] or item in COUNTERS) and self._true.get((asset, item)) != value:
                self._true[asset, item] = value
                if item in COUNTERS:
                    self.truth.write("count", asset=asset, item=item, total=value, at=at)
                else:
                    name = self.rules[type_].names.get(item, {}).get(str(value), value)
                    self.truth.write("state", asset=asset, item=item, value=name, at=at)
        self._write_crossings(time_us)

    def _write_crossings(self, time_us: int) -> None:
        clean = self.plant.clean(time_us)
        for asset in self.plant.machines:
            for alarm in self.rules[asset.rsplit("-", 1)[0]].alarms:
                value = clean[asset, alarm.item]
                for limit in {alarm.above, alarm.clear_below}:
                    self._write_crossing(asset, alarm.item, limit, value, self.start_us + time_us)

    def _write_crossing(self, asset: str, item: str, limit: float, value: float, at: int) -> None:
        over, before = value > limit, self._over.get((asset, f"{item}>{limit}"), False)
        if over != before:
            self._over[asset, f"{item}>{limit}"] = over
            told = {"limit": limit, "direction": "up" if over else "down", "value": round(value, 4), "at": at}
            self.truth.write("crossing", asset=asset, item=item, **told)
