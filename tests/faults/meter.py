"""A Modbus device for gateways under test, in a thread of its own."""

import asyncio
import threading
from typing import Self

from tests.faults.rig import PATIENCE_S
from tests.sources.modbus_server import Device


class Meter:
    """A device; what it holds and how it behaves is the test's."""

    def __init__(self) -> None:
        self.device = Device()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.device.start(), self._loop).result(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.device.stop(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
