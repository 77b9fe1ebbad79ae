"""The poll of one Modbus unit: what is asked when, what a failure means for the values and for the link; no vendor."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from assets.reading import Reading, Readings
from sources._devices import Outlet, now_us
from sources._link import DeviceLink, jittered
from sources._modbus_address import Address
from sources._modbus_config import Config
from sources._modbus_failures import Failure, Scope
from sources._modbus_plan import Block, Limits, group, halves, make_block
from sources._modbus_skipped import Skipped

log = logging.getLogger("sources.modbus")

RECONNECT_S: Final = (1.0, 10.0)
"""First and longest wait before a lost connection is tried again."""
REFUSED_S: Final = 300.0
"""How long an address the device refuses is left alone."""


class Client(Protocol):
    """A connection to the unit's device; what it raises is a `Failure`."""

    async def connect(self) -> None:
        """Connect, unless there is a connection."""

    async def read(self, block: Block) -> bytes:
        """The bytes of a block, as the device sent them and checked to be its answer."""

    def close(self) -> None:
        """Close the connection."""


class Poll:
    """A cycle each `poll`, in phase with the loop's clock; late cycles are left out and told, never bunched."""

    def __init__(self, name: str, config: Config, addresses: Sequence[Address], client: Client, outlet: Outlet) -> None:
        self.rejected = 0
        self._name = name
        self._device = f"{config.endpoint} unit {config.unit}"
        self._config = config
        self._addresses = addresses
        self._limits = Limits(config.max_registers, config.max_bits, config.fill_gap, config.parsed_holes)
        self._client = client
        self._outlet = outlet
        self._link = DeviceLink(name, self._device, outlet)
        self._bad: dict[str, int] = {}
        self._alive = False
        self._failures = 0
        self._owed = 0
        self._wait_s = 0.0
        self._received = self._read_at = now_us()
        self._skipped = Skipped(outlet)
        self._plan_anew()

    async def run(self) -> None:
        """Poll until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                await self._outlet.room()
                due = await self._cycle(due)
                await asyncio.sleep(due - loop.time())
        finally:
            self._skipped.tell()

    def _plan_anew(self) -> None:
        self._plan = group(self._addresses, self._limits)
        self._refused: dict[Address, float] = {}

    async def _cycle(self, due: float) -> float:
        """Read everything once; returns when the next cycle is due."""
        if self._alive:
            due = self._late(due)  # the flow had no room
        readings: list[Reading] = []
        try:
            await self._read_all(readings)
        except Failure as failure:
            return self._failed(failure, readings, due)
        self._failures, self._wait_s = 0, 0.0
        if self._alive:
            self._link.proved(self._received)
            due = self._late(due, self._owed)
        else:
            due = asyncio.get_running_loop().time()  # connecting took its time: that is no late cycle
            self._link.found(self._received)
        self._alive, self._owed = True, 0
        self._skipped.read(self._received)
        self._read_at = self._received
        self._hand_over(self._received, readings)
        return due + self._config.poll / 1e6

    def _late(self, due: float, owed: int = 0) -> float:
        """Count the polls that were due since `due` and not made, and those owed; returns when the last of them was."""
        missed = self._missed(due)
        if missed or owed:
            if not self._skipped.total:
                log.warning(
                    'source "%s" does not keep up with its poll of %g s; late cycles are left out, and told',
                    self._name,
                    self._config.poll / 1e6,
                )
            self._skipped.add(missed + owed, (a.text for a in self._addresses if a not in self._refused), self._read_at)
        return due + missed * self._config.poll / 1e6

    def _missed(self, due: float) -> int:
        """How many more polls were due since `due`."""
        return max(0, int((asyncio.get_running_loop().time() - due) // (self._config.poll / 1e6)))

    def _failed(self, failure: Failure, readings: list[Reading], due: float) -> float:
        """Say what could not be read, and that the link is lost when it stays so; returns when to try again."""
        config, now = self._config, asyncio.get_running_loop().time()
        self._failures += 1
        self._hand_over(self._received, readings)
        read = {reading.address for reading in readings}
        unread = [a for a in self._addresses if a.text not in read and a not in self._refused]
        self._hand_over(now_us(), self._turn_bad(unread, failure.status), proved=False)
        connected = failure.scope is not Scope.CONNECTION
        if self._alive and connected and self._failures < config.demote_after:
            self._owed += self._missed(due)  # told when it answers again; else the gap of its loss covers them
            if self._owed:
                self._outlet.untold_since = self._outlet.untold_since or self._read_at
            return now + config.poll / 1e6
        first, longest = (config.probe_min / 1e6, config.probe_max / 1e6) if connected else RECONNECT_S
        self._wait_s = min(max(2 * self._wait_s, first), max(first, longest))
        self._alive, self._owed = False, 0
        self._skipped.tell()
        wait_s = jittered(self._wait_s)
        self._link.lost(failure.cause, wait_s)
        return now + wait_s

    def _hand_over(self, received: int, readings: list[Reading], *, proved: bool = True) -> None:
        if readings:
            self._outlet.put(Readings(received, readings), proved=proved and self._alive)

    def _turn_bad(self, addresses: Iterable[Address], status: int) -> list[Reading]:
        """A Bad reading for each address that was not Bad for the same reason before: said once, not each poll."""
        news = [address.text for address in addresses if self._bad.get(address.text) != status]
        self._bad.update(dict.fromkeys(news, status))
        return [Reading(text, None, status) for text in news]

    async def _read_all(self, readings: list[Reading]) -> None:
        self._try_refused_again()
        kept: list[Block] = []
        try:
            for block in self._plan:
                kept += await self._read(block, readings)
        except Failure:
            self._plan_anew()
            raise
        self._plan = kept

    def _try_refused_again(self) -> None:
        now = asyncio.get_running_loop().time()
        due = [address for address, at in self._refused.items() if at <= now]
        if not due and not self._plan:
            due = list(self._refused)[:1]  # one request each cycle proves the link
        for address in due:
            del self._refused[address]
            self._plan.append(make_block([address]))

    async def _read(self, block: Block, readings: list[Reading]) -> list[Block]:
        """Read a block; returns what to ask for in the next cycle: itself, or its parts without a refused address."""
        try:
            raw = await self._ask(block)
        except Failure as failure:
            self._received = now_us()
            if failure.scope is Scope.BLOCK:
                self._reject(block, failure, readings)
                return [block]
            if failure.scope is not Scope.ADDRESS:
                raise
            if len(block.addresses) == 1:
                self._refuse(block.addresses[0], failure, readings)
                return []
            first, second = halves(block)
            return [*await self._read(first, readings), *await self._read(second, readings)]
        self._received = now_us()
        if self._bad:
            for address in block.addresses:
                self._bad.pop(address.text, None)
        readings += block.decode(raw)
        return [block]

    def _reject(self, block: Block, failure: Failure, readings: list[Reading]) -> None:
        self.rejected += 1
        if news := self._turn_bad(block.addresses, failure.status):
            log.warning('could not read source "%s" at %s: %s', self._name, self._device, failure.cause)
            readings += news

    def _refuse(self, address: Address, failure: Failure, readings: list[Reading]) -> None:
        self._refused[address] = asyncio.get_running_loop().time() + REFUSED_S
        if news := self._turn_bad([address], failure.status):
            what = f'"{address.text}" of source "{self._name}" at {self._device}'
            log.warning("could not read %s: %s; trying again in %g s", what, failure.cause, REFUSED_S)
            readings += news

    async def _ask(self, block: Block) -> bytes:
        """One request, repeated when that may help; a unit that is lost is asked once only."""
        for left in reversed(range(self._config.retries + 1 if self._alive else 1)):
            try:
                await self._client.connect()
                return await self._client.read(block)
            except Failure as failure:
                if not left or failure.scope not in {Scope.UNIT, Scope.CONNECTION}:
                    raise
        raise AssertionError
