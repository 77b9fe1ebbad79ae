"""The example of a source, in its place: files are read, a missing one is Bad and costs the others nothing."""

import asyncio
from contextlib import suppress
from pathlib import Path

from assets.reading import Link, Readings
from docs.examples.sources.file import Config, Source
from sources._devices import Outlet


def test_files_become_readings(tmp_path: Path) -> None:
    (tmp_path / "temp").write_text("48312\n")
    config = Config(endpoint=f"file://{tmp_path}", poll="10ms")  # type: ignore[arg-type]
    outlet = Outlet()

    async def read_twice() -> None:
        running = asyncio.create_task(Source("board", config, ["temp", "fan"]).run(outlet))
        async with asyncio.timeout(60):
            while outlet.received < 4:
                await asyncio.sleep(0.001)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(read_twice())
    link, first, *_ = outlet.take()
    assert isinstance(link, Link)
    assert link.available
    assert isinstance(first, Readings)
    temp, fan = first.readings
    assert (temp.address, temp.value, temp.status) == ("temp", 48312.0, 0)
    assert (fan.address, fan.value, hex(fan.status)) == ("fan", None, "0x80050000")
