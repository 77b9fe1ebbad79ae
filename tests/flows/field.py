"""Machines under load for tests of ingest: a real OPC UA server and a Modbus device in a thread, and what they said.

Every OPC UA item counts up, so whatever is missing, repeated or out of order can be told from the values alone.
"""

import asyncio
import gc
import threading
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.sources.modbus_server import Device
from tests.sources.opcua_server import URI, Machine

PRESSES = ("press-01", "press-02", "press-03")
PERIOD_S = 0.025
PAD = "." * 1_500
SERVER = """  {name}:
    {{protocol: opcua, endpoint: "opc.tcp://127.0.0.1:{opcua}", security: none,
      publishing_interval: 50ms, sampling_interval: 5ms}}
"""
PRESS = """  press-{n}:
    {{type: press, path: acme/hamburg/forming/line-1, source: {name}, address: "nsu={uri};s=Press{n}.{{item}}"}}
"""
PLANT = """
sources:
{servers}  meter: {{protocol: modbus, endpoint: "tcp://127.0.0.1:{modbus}", unit: 1, poll: 100ms}}
types:
  press: {{items: {{parts: {{category: SAMPLE}}, note: {{category: EVENT}}}}}}
  meter: {{items: {{energy: {{category: SAMPLE}}}}}}
assets:
  meter-01:
    type: meter
    path: acme/hamburg/forming/line-1
    source: meter
    items: {{energy: {{address: "holding:0 uint16"}}}}
{presses}"""


class Written(NamedTuple):
    """A change in a device: the item of an asset became `value` at `time` (us)."""

    asset: str
    item: str
    value: Any
    time: int


class Field:
    """Devices whose values change for as long as the field is entered."""

    def __init__(self) -> None:
        names = [f"Press{asset[-2:]}.{item}" for asset in PRESSES for item in ("parts", "note")]
        self.machine = Machine({name: "" if name.endswith("note") else 0 for name in names})
        self.device = Device()
        self.written: list[Written] = []
        self.changes = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._pause = False

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self.machine.start())
        self._run(self.device.start())
        self._work = asyncio.run_coroutine_threadsafe(self._change(), self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        self._work.cancel()
        self._run(self.machine.stop())
        self._run(self.device.stop())
        self._run(_end_the_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        gc.collect()  # sockets that are collected in the middle of something else warn there

    def plant(self, folder: Path, *, connections: int = 1) -> Path:
        """The plant folder that describes the field; all presses behind one connection, or one each for three."""
        folder.mkdir(parents=True, exist_ok=True)
        names = {asset: "forming" if connections == 1 else f"forming-{asset[-2:]}" for asset in PRESSES}
        servers = "".join(SERVER.format(name=name, opcua=self.machine.port) for name in sorted(set(names.values())))
        presses = "".join(PRESS.format(n=asset[-2:], name=name, uri=URI) for asset, name in names.items())
        text = PLANT.format(servers=servers, presses=presses, modbus=self.device.port)
        (folder / "plant.yaml").write_text(text)
        return folder

    def rest(self) -> list[Written]:
        """Change nothing any more; returns all that was said."""
        self._pause = True
        self._run(asyncio.sleep(2 * PERIOD_S))
        return self.written

    def go_on(self) -> None:
        """Change again."""
        self._pause = False

    def forget_clients(self) -> None:
        """Forget the subscriptions of clients that were killed."""
        self._run(self.machine.drop_subscriptions())

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _change(self) -> None:
        n = 0
        while True:
            await asyncio.sleep(PERIOD_S)
            if self._pause:
                continue
            self.changes = n = n + 1
            self.device.registers[0] = n & 0xFFFF
            for asset in PRESSES:
                await self._write(asset, "parts", n)
                if n % 4 == 0:
                    await self._write(asset, "note", f"{n:09} {PAD}")

    async def _write(self, asset: str, item: str, value: Any) -> None:
        now = datetime.now(UTC)
        now_us = int(now.timestamp()) * 1_000_000 + now.microsecond
        await self.machine.write(f"Press{asset[-2:]}.{item}", value, time=now.replace(tzinfo=None))
        self.written.append(Written(asset, item, value, now_us))


async def _end_the_rest() -> None:
    """The server leaves tasks of its sessions behind."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
