"""Modbus TCP: registers and bits of one unit, polled through pymodbus.

Guarantee: every poll is a new sample, at most once; a change between two polls, or while the flow is down, is not
seen. A value leaves only after the answer's transaction, unit, function and length were checked. All values of a
cycle share one `received`; there is no device time. What could not be read is Bad, said once, and a gap on return; so
are polls that were due while the one before was not through.
"""

import asyncio
import logging
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from assets.duration import format_duration
from assets.status import BAD_COMMUNICATION_ERROR, BAD_DECODING_ERROR, BAD_TIMEOUT
from sources._devices import Outlet
from sources._link import cause_of
from sources._modbus_address import BIT_TABLES, FUNCTIONS, parse_address
from sources._modbus_config import Config, host_and_port
from sources._modbus_failures import Failure, Scope, refusal
from sources._modbus_plan import Block
from sources._modbus_poll import Poll

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusTcpClient

__all__ = ["Config", "Source"]

_METHODS: Final = {
    "coil": "read_coils",
    "discrete": "read_discrete_inputs",
    "holding": "read_holding_registers",
    "input": "read_input_registers",
}


class Source:
    """One unit and the addresses to read from it."""

    def __init__(self, name: str, config: Config, addresses: Sequence[str]) -> None:
        self.name = name
        self._config = config
        self._addresses = [parse_address(address) for address in dict.fromkeys(addresses)]
        for address in self._addresses:
            if address.count > config.max_registers:
                raise ValueError(f'"{address.text}" takes {address.count} registers; max_registers says less')

    async def run(self, outlet: Outlet) -> None:
        """Poll until cancelled."""
        client = _Client(self._config)
        try:
            await Poll(self.name, self._config, self._addresses, client, outlet).run()
        finally:
            client.close()


class _Client:
    """pymodbus as codec and connection; what it would accept too easily is checked here."""

    def __init__(self, config: Config) -> None:
        self._unit = config.unit
        self._timeout_us = config.timeout
        self._host, self._port = host_and_port(config.endpoint)
        self._client: AsyncModbusTcpClient | None = None
        self._lost: asyncio.Future[None] | None = None
        self._error: OSError | None = None

    def close(self) -> None:
        """Close the connection; what was asked for and not answered can never be taken for a later answer."""
        if self._client is not None:
            self._client.close()
        self._client = None

    async def connect(self) -> None:
        """Connect, unless there is a connection."""
        if self._client is not None and self._client.connected:
            return
        self.close()
        from pymodbus.client import AsyncModbusTcpClient

        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # we say it in our words, once
        lost = self._lost = asyncio.get_running_loop().create_future()
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=self._timeout_us / 1e6,
            retries=0,
            reconnect_delay=0,
            trace_connect=lambda connected: None if connected or lost.done() else lost.set_result(None),
        )
        self._remember_errors(client)
        if not await client.connect():
            cause = cause_of(self._error) if self._error else f"no connection within {self._timeout}"
            raise Failure(Scope.CONNECTION, BAD_COMMUNICATION_ERROR, cause)
        self._client = client

    @property
    def _timeout(self) -> str:
        return format_duration(self._timeout_us)

    def _remember_errors(self, client: "AsyncModbusTcpClient") -> None:
        """The library only logs why it could not connect."""
        create, self._error = client.ctx.call_create, None

        async def remembering() -> Any:
            try:
                return await create()
            except OSError as error:
                self._error = error
                raise

        client.ctx.call_create = remembering

    async def read(self, block: Block) -> bytes:
        """The bytes of a block, as the device sent them."""
        from pymodbus.exceptions import ConnectionException, ModbusException

        client, lost = self._client, self._lost
        assert client is not None
        assert lost is not None
        read = getattr(client, _METHODS[block.table])
        request = asyncio.ensure_future(read(block.start, count=block.count, device_id=self._unit))
        try:
            await asyncio.wait({request, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not request.done():  # the library would only notice after the time-out
                raise Failure(Scope.CONNECTION, BAD_COMMUNICATION_ERROR, "connection closed by the device")
            return self._checked(client, block, request.result())
        except ConnectionException as error:
            raise Failure(Scope.CONNECTION, BAD_COMMUNICATION_ERROR, "connection closed by the device") from error
        except ModbusException as error:
            self.close()
            raise Failure(Scope.UNIT, BAD_TIMEOUT, f"no answer within {self._timeout}") from error
        finally:
            request.cancel()

    def _checked(self, client: "AsyncModbusTcpClient", block: Block, answer: Any) -> bytes:
        function = FUNCTIONS[block.table]
        ours = answer.transaction_id == client.ctx.next_tid and answer.dev_id == self._unit
        if ours and answer.function_code == function | 0x80:
            raise refusal(answer.exception_code)
        if ours and answer.function_code == function:
            if block.table in BIT_TABLES and len(answer.bits) == (block.count + 7) // 8 * 8:
                return _packed(answer.bits)
            if block.table not in BIT_TABLES and len(answer.registers) == block.count:
                return _registers(block.count)(*answer.registers)
        asked = f"{block.table}:{block.start} to {block.start + block.count - 1}"
        raise Failure(Scope.BLOCK, BAD_DECODING_ERROR, f"the answer does not fit the request for {asked}")


def _packed(bits: Sequence[bool]) -> bytes:
    return sum(bit << n for n, bit in enumerate(bits)).to_bytes(len(bits) // 8, "little")


@cache
def _registers(count: int) -> Callable[..., bytes]:
    return struct.Struct(f">{count}H").pack
