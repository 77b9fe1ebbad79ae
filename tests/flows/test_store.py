"""A plant that changes between two runs of ingest with the same recovery store."""

import asyncio
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, cluster_main

from assets.reading import Message
from flows._store import Store
from sources._devices import Outlet
from sources._intake import Devices
from sources._partition import Stop


class Device:
    """A source that asks for the stop as soon as it runs."""

    def __init__(self, name: str, stop: Stop) -> None:
        self.name = name
        self._stop = stop

    async def run(self, outlet: Outlet) -> None:
        self._stop.request()
        await asyncio.Event().wait()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty recovery store."""
    init_db_dir(tmp_path, 1)
    return Store(tmp_path)


def run(store: Store, *names: str) -> list[str]:
    """Ingest with these sources; who has said anything."""
    stop, out = Stop(), list[tuple[str, list[Message]]]()
    devices = Devices({n: Device(n, stop) for n in names}, stop, known=store.parts("ingest.devices"))
    flow = Dataflow("ingest")
    op.output("out", op.input("devices", flow, devices), TestingSink(out))
    recovery = RecoveryConfig(str(store.folder), backup_interval=timedelta(0))
    cluster_main(flow, [], 0, recovery_config=recovery, epoch_interval=timedelta(milliseconds=50))
    return sorted({name for name, _ in out})


def test_sources_that_leave_the_plant_and_come_back_do_not_end_ingest(store: Store) -> None:
    assert store.parts("ingest.devices") == []
    assert run(store, "forming", "meter") == ["forming", "meter"]
    assert store.parts("ingest.devices") == ["forming", "meter"]
    assert run(store, "forming") == ["forming"]
    assert run(store, "forming", "oven") == ["forming", "oven"]
    assert run(store, "meter") == ["meter"]
    assert store.parts("ingest.devices") == ["forming", "meter", "oven"]
