"""A Modbus TCP device with bad habits, on asyncio alone: it shares no code with the client library under test.

Holding and input register `i` hold `i` unless set; coils and discrete inputs `i` are set where `i % 3 == 0`.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Self

Habit = Callable[[bytes, bytes], bytes | None]
"""(request frame, right answer frame) -> what is sent instead; None: silence."""

HEADER = struct.Struct(">HHHB")


def frame(transaction: int, unit: int, pdu: bytes) -> bytes:
    return HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu


def silent(_request: bytes, _answer: bytes) -> bytes | None:
    return None


def refuses(code: int) -> Habit:
    """Answers every request with an exception."""
    return lambda request, _: request[:4] + b"\0\3" + bytes((request[6], request[7] | 0x80, code))


def wrong_function(request: bytes, answer: bytes) -> bytes | None:
    return answer[:7] + bytes((7 - request[7],)) + answer[8:]


def one_register_short(_request: bytes, answer: bytes) -> bytes | None:
    transaction, _, _, unit = HEADER.unpack_from(answer)
    return frame(transaction, unit, bytes((answer[7], answer[8] - 2)) + answer[9:-2])


def transaction_zero(_request: bytes, answer: bytes) -> bytes | None:
    return b"\0\0" + answer[2:]


class Device:
    """One device; `habits` gives the behaviour per unit, `refused` the registers that do not exist."""

    def __init__(self) -> None:
        self.registers: dict[int, int] = {}
        self.refused: set[int] = set()
        self.habits: dict[int, Habit] = {}
        self.requests: list[tuple[int, int, int, int]] = []
        """(unit, function, address, count) of each request so far."""
        self.late_s = 0.0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, again on the same port after a stop."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._server is not None:
            self._server.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close all connections; the port stays open."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                header = await reader.readexactly(7)
                request = header + await reader.readexactly(HEADER.unpack(header)[2] - 1)
                if self.late_s:
                    await asyncio.sleep(self.late_s)
                sent = self._answer(request)
                if sent is not None:
                    writer.write(sent)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client left
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, request: bytes) -> bytes | None:
        transaction, _, _, unit = HEADER.unpack_from(request)
        function, address, count = struct.unpack_from(">BHH", request, 7)
        self.requests.append((unit, function, address, count))
        asked = range(address, address + count)
        if self.refused.intersection(asked):
            answer = frame(transaction, unit, bytes((function | 0x80, 2)))
        else:
            body = self._bits(asked) if function < 3 else b"".join(struct.pack(">H", self._register(n)) for n in asked)
            answer = frame(transaction, unit, bytes((function, len(body))) + body)
        habit = self.habits.get(unit)
        return habit(request, answer) if habit else answer

    def _register(self, n: int) -> int:
        return self.registers.get(n, n)

    def _bits(self, asked: range) -> bytes:
        return sum((n % 3 == 0) << i for i, n in enumerate(asked)).to_bytes((len(asked) + 7) // 8, "little")
