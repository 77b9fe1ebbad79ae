"""A TCP proxy on the loopback interface that can be told to misbehave: the network between a source and its device."""

import asyncio
import contextlib
import socket
import struct
from enum import Enum
from typing import Self


class Mode(Enum):
    PASS = "forward everything"
    HOLE = "accept and swallow: nothing comes through, not even the end of a connection"
    REFUSE = "reset every new connection"


class Proxy:
    """Forwards `port` to `target` according to `mode`, each chunk `delay_s` late and in pieces of `piece` bytes."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.mode = Mode.PASS
        self.delay_s = 0.0
        self.piece = 1 << 16
        self.accepted = 0
        self._open = asyncio.Event()
        self._open.set()
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.reset()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def hole(self) -> None:
        """From now on nothing comes through; what is held back follows after `forward`."""
        self.mode = Mode.HOLE
        self._open.clear()

    def refuse(self) -> None:
        """Reset every new connection from now on."""
        self.mode = Mode.REFUSE

    def forward(self) -> None:
        """Behave again."""
        self.mode = Mode.PASS
        self._open.set()

    def reset(self) -> None:
        """Reset all existing connections now."""
        for writer in list(self._writers):
            _abort(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.mode is Mode.REFUSE:
            _abort(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._writers.add(writer)
        try:
            await self._join(reader, writer)
        except OSError:
            _abort(writer)
        except asyncio.CancelledError:
            pass  # the proxy ends; a stream's own callback would report it as an error
        finally:
            self._connections.discard(task)
            self._writers.discard(writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.add(far_writer)
        ways = [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers.discard(far_writer)
            for end in (writer, far_writer):
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                for start in range(0, len(data), self.piece):
                    await self._open.wait()
                    writer.write(data[start : start + self.piece])
                    await writer.drain()
                    await asyncio.sleep(0)
        await self._open.wait()


def _abort(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
