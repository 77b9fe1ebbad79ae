"""A small Modbus TCP server: registers and bits of several units, function codes 1 to 4, and units that fail on demand.

It shares no code with any client library, so a client tested against it is not tested against itself.
"""

import asyncio
import struct
from enum import Enum
from typing import Final

_HEADER: Final = struct.Struct(">HHHB")
_REQUEST: Final = struct.Struct(">BHH")
TABLES: Final = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
MAX_BITS, MAX_REGISTERS = 2000, 125
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_SILENT = 1, 2, 3, 0x0B


class Mood(Enum):
    """How a unit takes requests."""

    WELL = "answers"
    DEAD = "the gateway answers for it with exception 0x0B"
    SILENT = "no answer at all"


class Unit:
    """One unit's process image: per table a list of numbers (bits are 0 or 1); beyond its end is exception 2."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.tables = {table: [0] * sizes.get(table, 0) for table in TABLES.values()}
        self.mood = Mood.WELL

    def read(self, pdu: bytes) -> bytes:
        """The answer to one request, both without header."""
        function = pdu[0]
        if function not in TABLES:
            return bytes((function | 0x80, ILLEGAL_FUNCTION))
        if len(pdu) != _REQUEST.size:
            return bytes((function | 0x80, ILLEGAL_VALUE))
        _, address, count = _REQUEST.unpack(pdu)
        if not 1 <= count <= (MAX_BITS if function < 3 else MAX_REGISTERS):
            return bytes((function | 0x80, ILLEGAL_VALUE))
        cells = self.tables[TABLES[function]][address : address + count]
        if len(cells) < count:
            return bytes((function | 0x80, ILLEGAL_ADDRESS))
        body = _pack_bits(cells) if function < 3 else struct.pack(f">{count}H", *cells)
        return bytes((function, len(body))) + body


class ModbusServer:
    """Several units behind one port of the loopback interface; a unit that does not exist is as good as dead."""

    def __init__(self, port: int, units: dict[int, Unit]) -> None:
        self.port = port
        self.units = units
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is None:
            return
        self._server.close()
        tasks = [task for task in self._connections.values() if task is not None]
        for writer in self._connections:
            writer.close()
        await asyncio.gather(*tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[writer] = asyncio.current_task()
        try:
            while True:
                transaction, protocol, length, unit = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                if protocol or not 2 <= length <= 254:
                    break
                answer = self._answer(unit, await reader.readexactly(length - 1))
                if answer:
                    writer.write(_HEADER.pack(transaction, 0, len(answer) + 1, unit) + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left: nothing to answer
        finally:
            self._connections.pop(writer)
            writer.close()

    def _answer(self, unit_id: int, pdu: bytes) -> bytes:
        unit = self.units.get(unit_id)
        mood = unit.mood if unit else Mood.DEAD
        if unit is None or mood is Mood.DEAD:
            return bytes((pdu[0] | 0x80, TARGET_SILENT))
        return b"" if mood is Mood.SILENT else unit.read(pdu)


def _pack_bits(bits: list[int]) -> bytes:
    number = sum(1 << n for n, bit in enumerate(bits) if bit)
    return number.to_bytes((len(bits) + 7) // 8, "little")
