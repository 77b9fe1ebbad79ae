"""Two gateways, clocks equal or an hour apart, and one is killed: who is lost, when in stream time, and who is not."""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Final

import pytest

from assets.frame import DerivedEvent, Tick, decode_event
from assets.stream import AVAILABLE, UNAVAILABLE
from deploy.processes import Flow
from deploy.wait import until
from tests.faults import proof
from tests.faults.rig import PATIENCE_S, Rig
from tests.sources.modbus_server import Device

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

S: Final = 1_000_000
TTL_S: Final = 3
WITHIN_S: Final = 2
"""How long after its ttl a lost source is noticed at the latest: the other's clock may be a tick behind, and shows."""
TICK_S: Final = 1
"""Ticks come once a second, so the instant of a proof of life is known to a second only."""
ASSETS: Final = {"gw-1": ["meter-01"], "gw-2": ["meter-02", "meter-03"]}
"""meter-01 and meter-02 share a partition; in that of meter-03 the first gateway has no asset."""
CLOCKS: Final = {"equal": "flows.ingest", "an hour apart": "tests.faults.ahead"}
"""What the second gateway runs."""
PLANT: Final = """
sources:
  of-{gateway}: {{protocol: modbus, endpoint: "tcp://127.0.0.1:{port}", unit: 1, poll: 100ms, ttl: {ttl}s}}
types:
  meter: {{items: {{energy: {{category: SAMPLE}}}}}}
assets:
  meter-{{{first}..{last}}}:
    type: meter
    path: acme/hamburg/forming/line-1
    source: of-{gateway}
    address: "holding:{{n}} uint16"
"""


class Gateway:
    """An ingest process with assets of its own."""

    def __init__(self, rig: Rig, name: str, port: int, target: str) -> None:
        self.rig, self.name, self.assets = rig, name, ASSETS[name]
        folder = rig.folder / name / "plant"
        folder.mkdir(parents=True, exist_ok=True)
        first, last = self.assets[0][-2:], self.assets[-1][-2:]
        plant = PLANT.format(gateway=name, port=port, ttl=TTL_S, first=first, last=last)
        (folder / "plant.yaml").write_text(plant)
        named = {"PENSTOCK_PLANT": str(folder), "PENSTOCK_GATEWAY": name}
        log, recovery = rig.folder / "logs" / f"{name}.log", folder.with_name("recovery")
        self.flow = Flow("ingest", {**rig.environment, **named}, log, recovery, target)

    def start(self) -> None:
        """Start it; its assets are there then."""
        self.flow.start()
        for asset in self.assets:
            until(partial(self._there, asset), PATIENCE_S, f"{asset} to be there")

    def kill_and_be_noticed(self) -> list[DerivedEvent]:
        """Kill it; returns the events that say so of its assets."""
        self.flow.kill()
        return [until(partial(lost, self.rig, asset), PATIENCE_S, f"{asset} to be lost") for asset in self.assets]

    def _there(self, asset: str) -> bool:
        assert self.flow.running, self.flow.crash_report()
        return said(self.rig, asset)[-1:] == [AVAILABLE]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A meter, which both gateways ask."""
    device, loop = Device(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(device.start(), loop).result(PATIENCE_S)
    yield device.port
    asyncio.run_coroutine_threadsafe(device.stop(), loop).result(PATIENCE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture(params=CLOCKS)
def gateways(rig: Rig, port: int, request: pytest.FixtureRequest) -> Iterator[tuple[Gateway, Gateway]]:
    """Both, with derive behind them."""
    one, other = Gateway(rig, "gw-1", port, "flows.ingest"), Gateway(rig, "gw-2", port, CLOCKS[request.param])
    rig.start("derive")
    one.start()
    other.start()
    yield one, other
    for gateway in (one, other):
        if gateway.flow.running:
            gateway.flow.kill()


def test_only_the_assets_of_a_killed_gateway_are_lost_and_in_time(rig: Rig, gateways: tuple[Gateway, Gateway]) -> None:
    for killed, other in (gateways, gateways[::-1]):
        before = {asset: said(rig, asset) for asset in other.assets}
        events = killed.kill_and_be_noticed()
        killed.start()
        for event in events:
            in_time(rig, event, killed, other)
        assert {asset: said(rig, asset) for asset in other.assets} == before
    derive_is_the_fold(rig, *gateways)


def test_when_both_are_dead_nothing_is_derived_until_one_is_back(rig: Rig, gateways: tuple[Gateway, Gateway]) -> None:
    one, other = gateways
    one.flow.kill()
    other.flow.kill()
    rig.finish(["derive"])
    before = events_of(rig)
    with pytest.raises(TimeoutError):
        rig.flows["derive"].wait(TTL_S + WITHIN_S)
    rig.finish(["derive"])
    assert events_of(rig) == before
    one.start()
    for asset in other.assets:
        until(partial(lost, rig, asset), PATIENCE_S, f"{asset} to be lost")
    assert [said(rig, asset) for asset in one.assets] == [said_in(before, asset) for asset in one.assets]
    derive_is_the_fold(rig, *gateways)


def derive_is_the_fold(rig: Rig, *gateways: Gateway) -> None:
    """Derived state is what the stream makes of it; nobody writes any more."""
    for gateway in gateways:
        gateway.flow.kill()
    rig.finish(["derive"])
    rig.stop("derive")
    proof.prove_derived(rig.site, proof.stream(rig.site))


def events_of(rig: Rig) -> list[DerivedEvent]:
    """All that was derived."""
    return [decode_event(value) for records in proof.events(rig.site).values() for _, value in records]


def said_in(events: list[DerivedEvent], asset: str) -> list[object]:
    return [event.value for event in events if (event.asset, event.metric) == (asset, "availability")]


def said(rig: Rig, asset: str) -> list[object]:
    """What was derived of an asset's availability."""
    return said_in(events_of(rig), asset)


def lost(rig: Rig, asset: str) -> DerivedEvent | None:
    """The event that says that an asset is lost, if that is the newest."""
    assert rig.flows["derive"].running, rig.flows["derive"].crash_report()
    own = [event for event in events_of(rig) if (event.asset, event.metric) == (asset, "availability")]
    return own[-1] if own and own[-1].value == UNAVAILABLE else None


def in_time(rig: Rig, event: DerivedEvent, killed: Gateway, other: Gateway) -> None:
    """It was lost when its ttl was over, and that was noticed by the other's next ticks."""
    partition, noticed_at, _ = event.basis
    records = {
        offset: record
        for batch in proof.stream(rig.site)
        if batch.partition == partition
        for offset, record in zip(batch.offsets, batch.records, strict=True)
        if offset <= noticed_at
    }
    named = [o for o, r in records.items() if isinstance(r, Tick) and f"of-{killed.name}" in r.sources]
    proof_of_life = records[named[-1]]
    assert isinstance(proof_of_life, Tick)
    mark = proof_of_life.sources[f"of-{killed.name}"].mark
    assert mark is not None
    assert event.time == mark + TTL_S * S
    heard = [o for o, r in records.items() if r.gateway == other.name and isinstance(r, Tick)]
    since = max((o for o in heard if o < named[-1]), default=heard[0])
    instants = [records[o].received for o in heard if o >= since]
    pauses = sum(max(0, later - earlier - 3 * S // 2) for earlier, later in pairwise(instants))
    assert instants[-1] - instants[0] <= (TICK_S + TTL_S + WITHIN_S) * S + 2 * pauses
