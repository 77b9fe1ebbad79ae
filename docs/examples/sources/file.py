"""Numbers in text files, as Linux drivers offer them (thermal zones, hwmon, 1-wire), polled.

Guarantee: every poll is a new sample, at most once. There is no device time. A file that cannot be read is Bad.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from assets.duration import DurationUs
from assets.reading import Reading, Readings
from assets.source import SourceConfig
from assets.status import BAD_COMMUNICATION_ERROR
from sources._devices import Outlet, now_us


class Config(SourceConfig):
    """One folder of such files."""

    protocol: Literal["file"] = "file"
    """The protocol: the name of a file in sources/."""
    endpoint: str = Field(pattern=r"^file:///")
    """The folder: `file:///sys/class/thermal/thermal_zone0`."""
    poll: DurationUs = Field(1_000_000, gt=0)
    """How often all files are read."""

    @property
    def cycle_us(self) -> int:
        return self.poll

    @classmethod
    def check_address(cls, address: str) -> None:
        if not address or "/" in address:
            raise ValueError(f'expected the name of a file in the folder; it is "{address}"')


class Source:
    """One folder and the files to read from it."""

    def __init__(self, name: str, config: Config, addresses: Sequence[str]) -> None:
        self.name = name
        self._folder = Path(config.endpoint.removeprefix("file://"))
        self._poll_s = config.poll / 1e6
        self._addresses = addresses

    async def run(self, outlet: Outlet) -> None:
        """Poll until cancelled."""
        while True:
            await outlet.room()
            readings = [self._read(address) for address in self._addresses]
            available = any(reading.status == 0 for reading in readings)
            outlet.link(available, "" if available else f"no file in {self._folder} could be read")
            outlet.put(Readings(now_us(), readings), proved=available)
            await asyncio.sleep(self._poll_s)

    def _read(self, address: str) -> Reading:
        try:
            return Reading(address, float((self._folder / address).read_text()))
        except (OSError, ValueError):
            return Reading(address, None, BAD_COMMUNICATION_ERROR)
