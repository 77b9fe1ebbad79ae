"""Five hundred assets through one, three and two copies of ingest: one asset in one partition, every record once."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from signal import SIGTERM
from typing import Final, NamedTuple, Self

import pytest

from assets.connection import KafkaConnection
from assets.frame import NO_SAMPLE, Flag, Frame, Observation, Tick, decode_frame, decode_tick
from assets.stream import ASSET_STREAM, own_partitions, partition_of
from deploy.processes import Flow, recovery_folder
from deploy.stack import Stack
from deploy.wait import until
from replay._accounts import Accounts
from sinks.kafka import ensure_topics, stream_topics
from sources.kafka import read_range, watermarks
from tests.sources.modbus_server import Device

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

PATIENCE_S: Final = 120
SOURCES: Final = 7
ASSETS: Final = [f"press-{n:03}" for n in range(500)]
SOURCE_OF: Final = {asset: n % SOURCES for n, asset in enumerate(ASSETS)}
REPEATED: Final = NO_SAMPLE | int(Flag.REDELIVERED)
PERIOD_S: Final = 0.4


class Told(NamedTuple):
    """A record where it stands."""

    partition: int
    offset: int
    record: Frame | Tick


class Counters:
    """A device whose registers all show the same growing number."""

    def __init__(self) -> None:
        self.device = Device()
        self.count = 0
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._grow()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _grow(self) -> None:
        async with self.device:
            while not self._end.is_set():
                self.count += 1
                self.device.registers.update(dict.fromkeys(range(len(ASSETS)), self.count))
                self._ready.set()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._end.wait(), PERIOD_S)


class Plant:
    """The plant folder, a broker, and ingest between them."""

    def __init__(self, servers: Stack, counters: Counters, folder: Path) -> None:
        self.kafka = KafkaConnection(bootstrap=servers.kafka_bootstrap)
        self.counters, self._folder = counters, folder
        endpoint = f"tcp://127.0.0.1:{counters.device.port}"
        sources = [
            f'  meter-{n}: {{protocol: modbus, endpoint: "{endpoint}", unit: 1, poll: 300ms}}' for n in range(SOURCES)
        ]
        assets = [
            f"  {asset}: {{type: press, path: acme/hamburg/forming/line-1, source: meter-{SOURCE_OF[asset]},"
            f' items: {{parts: {{address: "holding:{n} uint16"}}}}}}'
            for n, asset in enumerate(ASSETS)
        ]
        types = "types: {press: {items: {parts: {category: SAMPLE}}}}"
        (folder / "plant").mkdir()
        text = "\n".join(["sources:", *sources, types, "assets:", *assets, ""])
        (folder / "plant" / "plant.yaml").write_text(text)
        ensure_topics(self.kafka, stream_topics(1))
        self._environment = {
            **servers.environment, "PENSTOCK_DATA": str(folder), "PENSTOCK_PLANT": str(folder / "plant"),
        }  # fmt: skip

    def start(self, copy: str) -> Flow:
        log = self._folder / f"{copy.replace('/', '-of-')}.log"
        environment = {**self._environment, "PENSTOCK_COPY": copy}
        return Flow("ingest", environment, log, recovery_folder(self._folder, "ingest", copy)).start()

    def records(self) -> list[Told]:
        """Everything on the stream."""
        return [
            Told(batch.partition, offset, decode_tick(value or b"") if key is None else decode_frame(value or b""))
            for batch in read_range(self.kafka, ASSET_STREAM, watermarks(self.kafka, ASSET_STREAM))
            for offset, key, value in zip(batch.offsets, batch.keys, batch.values, strict=True)
        ]

    def read(self, flows: list[Flow]) -> None:
        """Wait until what all assets say now, or something newer, stands on the stream."""
        now = self.counters.count

        def stands() -> bool:
            assert all(flow.running for flow in flows), [flow.crash_report() for flow in flows if not flow.running]
            newest = {asset: values[-1] for asset, values in samples(self.records()).items()}
            return len(newest) == len(ASSETS) and min(newest.values()) > now

        until(stands, PATIENCE_S, "all assets on the stream", every_s=1.0)


def samples(records: list[Told]) -> dict[str, list[int]]:
    """The numbers that each asset has shown, in order, without what is told again."""
    found: dict[str, list[int]] = defaultdict(list)
    for _, _, record in records:
        if isinstance(record, Frame):
            fresh = (o.value for o in record.observations if o.item == "parts" and not o.flags & REPEATED)
            found[record.asset] += [value for value in fresh if isinstance(value, int)]
    return {asset: values for asset, values in found.items() if values}


@pytest.fixture
def plant(servers: Stack, tmp_path: Path) -> Iterator[Plant]:
    with Counters() as counters:
        yield Plant(servers, counters, tmp_path)


def test_every_asset_has_one_partition_and_each_of_its_records_stands_once(plant: Plant) -> None:
    ways = (1, 3, 2)
    for copies in ways:
        flows = [plant.start(f"{i}/{copies}") for i in range(copies)]
        try:
            plant.read(flows)
            for flow in flows:
                flow.signal(SIGTERM)
            assert [flow.wait(60) for flow in flows] == [0] * copies, [flow.last_lines() for flow in flows]
        finally:
            for flow in flows:
                if flow.running:
                    flow.kill()
    records = plant.records()
    in_one_partition(records)
    in_one_copy(records, ways)
    whole(records)


def in_one_partition(records: list[Told]) -> None:
    """An asset's records stand in its partition, and each partition has some."""
    homes = defaultdict(set)
    for partition, _, record in records:
        if isinstance(record, Frame):
            homes[record.asset].add(partition)
    assert homes == {asset: {partition_of(asset, 12)} for asset in ASSETS}
    assert set.union(*homes.values()) == {*range(12)}


def in_one_copy(records: list[Told], ways: tuple[int, ...]) -> None:
    """At any time one copy tells of an asset: the one that owns its source; then the copies of the next number."""
    gateways = defaultdict(list)
    for _, _, record in records:
        if isinstance(record, Frame):
            gateways[record.asset].append(record.gateway)
    for asset, told in gateways.items():
        owners = [
            f"{i}-of-{n}" for n in ways for i in range(n) if SOURCE_OF[asset] in own_partitions(SOURCES, f"{i}/{n}")
        ]
        names = [name for name, _ in groupby(told)]
        assert len(names) == len(ways), (asset, names)
        assert [name.removeprefix("gw-1-") for name in names[1:]] == owners[1:], asset


def is_of_a_restart(o: Observation) -> bool:
    """Whether it is the gap between two runs, and not that of polls that a busy computer left out."""
    return o.item == "_gap" and isinstance(o.value, dict) and o.value["reason"] == "the gateway was not running"


def whole(records: list[Told]) -> None:
    """Numbers have no holes and come once; no value comes again unflagged; between two runs there is one gap."""
    numbers = defaultdict(list)
    gaps: dict[str, int] = dict.fromkeys(ASSETS, 0)
    accounts = Accounts({})
    for partition, offset, record in records:
        accounts.record(partition, offset, record)
        of = record.asset if isinstance(record, Frame) else str(partition)
        numbers[record.gateway, record.run, of].append(record.seq)
        if isinstance(record, Frame):
            gaps[of] += sum(is_of_a_restart(o) for o in record.observations)
    assert all(seqs == [*range(1, len(seqs) + 1)] for seqs in numbers.values())
    assert all(values == sorted({*values}) for values in samples(records).values())
    assert gaps == dict.fromkeys(ASSETS, 2)
    assert [*accounts.finish()[1]] == []
