"""The clock of a gateway's computer is set back or leaps, while ingest runs and between two runs."""

import time
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import pytest

from assets.frame import Frame, Tick, decode_event
from assets.stream import AVAILABLE
from deploy.processes import Flow
from deploy.wait import until
from replay._accounts import Accounts
from sources._modbus_skipped import REASON
from tests.faults import clock, proof
from tests.faults.meter import Meter
from tests.faults.rig import PATIENCE_S, Rig

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

S: Final = 1_000_000
HOUR_S: Final = 3600
STEPS: Final = {"set back": (HOUR_S, 0), "set back a little": (2, 0), "leaps": (0, HOUR_S)}
"""By how many seconds the clock is ahead, at first and then."""
NEWEST: Final = 3
"""A gap between two runs begins at one of the newest marks, though not at the last."""
MOST_SLOWED_S: Final = 3
"""A gateway takes a step back of so much slowly, so until then its marks may be ahead of the computer's clock."""
PLANT: Final = """
sources:
  of-{asset}: {{protocol: modbus, endpoint: "tcp://127.0.0.1:{port}", unit: 1, poll: 100ms}}
types:
  meter: {{items: {{mode: {{category: EVENT}}}}, derive: {{running: {{durations: mode}}}}}}
assets:
  {asset}: {{type: meter, path: acme/hamburg/forming/line-1, source: of-{asset}, address: "holding:0 uint16"}}
"""


class Gateway:
    """Ingest of one meter, on a computer whose clock the test sets."""

    def __init__(self, rig: Rig, meter: Meter, name: str) -> None:
        self.rig, self.meter, self.name, self.asset = rig, meter, name, f"meter-{name}"
        folder = rig.folder / name / "plant"
        folder.mkdir(parents=True)
        (folder / "plant.yaml").write_text(PLANT.format(asset=self.asset, port=meter.device.port))
        self._clock = folder.with_name("clock")
        named = {"PENSTOCK_PLANT": str(folder), "PENSTOCK_GATEWAY": name, clock.FILE: str(self._clock)}
        log, recovery = rig.folder / "logs" / f"{name}.log", folder.with_name("recovery")
        self.flow = Flow("ingest", {**rig.environment, **named}, log, recovery, "tests.faults.clock")

    def set_clock(self, ahead_s: int) -> None:
        """Let the computer's clock be so far ahead."""
        beside = self._clock.with_suffix(".new")
        beside.write_text(str(ahead_s))
        beside.replace(self._clock)

    def say(self, mode: int) -> None:
        """Let the device say so, and wait until the derived state does."""
        self.meter.device.registers[0] = mode
        until(lambda: self.derived("running")[-1:] == [mode], PATIENCE_S, f"mode {mode}")

    def restart(self, ahead_s: int) -> None:
        """Kill it and start it again, as soon as there are marks by the clock as it is now."""
        until(lambda: self._marks(ahead_s) > NEWEST, PATIENCE_S, "marks by the new clock")
        self.flow.kill()
        self.flow.start()

    def _marks(self, ahead_s: int) -> int:
        ticks = [r for b in proof.stream(self.rig.site) for r in b.records if isinstance(r, Tick)]
        now = int((time.time() + ahead_s) * S)
        return len(
            {tick.seq for tick in ticks if tick.gateway == self.name and abs(now - tick.received) < HOUR_S * S // 2}
        )

    def derived(self, metric: str) -> list[Any]:
        """What was derived of the meter."""
        assert self.rig.flows["derive"].running, self.rig.flows["derive"].crash_report()
        all_ = [decode_event(value) for records in proof.events(self.rig.site).values() for _, value in records]
        return [event.value for event in all_ if (event.asset, event.metric) == (self.asset, metric)]

    @property
    def modes(self) -> list[int]:
        """The modes that the meter was derived to be in; a busy computer may have made one unknown for a while."""
        known = [mode for mode in self.derived("running") if mode is not None]
        return [mode for mode, _ in groupby(known)]

    def gaps(self) -> list[dict[str, Any]]:
        """The gaps of the meter, in order, but those of polls that a busy computer left out."""
        frames = [r for b in proof.stream(self.rig.site) for r in b.records if isinstance(r, Frame)]
        said = [o for frame in frames if frame.asset == self.asset for o in frame.observations]
        gaps = [o.value for o in said if o.item == "_gap" and isinstance(o.value, dict)]
        return [gap for gap in gaps if gap["reason"] != REASON]


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> tuple[int, int]:
    return STEPS[request.param]


@pytest.fixture
def gateway(rig: Rig, step: tuple[int, int], request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """A gateway of its own for each test, with derive behind it."""
    between = "between" in request.function.__name__
    with Meter() as meter:
        gateway = Gateway(rig, meter, f"gw-{list(STEPS.values()).index(step)}{int(between)}")
        gateway.set_clock(step[0])
        rig.start("derive")
        gateway.flow.start()
        yield gateway
        if gateway.flow.running:
            gateway.flow.kill()


def test_a_clock_that_is_set_while_ingest_runs_loses_nothing(rig: Rig, gateway: Gateway, step: tuple[int, int]) -> None:
    for mode in (1, 2):
        gateway.say(mode)
    gateway.set_clock(step[1])
    for mode in (3, 4, 5):
        gateway.say(mode)
    assert gateway.modes == [1, 2, 3, 4, 5]
    assert gateway.derived("availability") == [AVAILABLE]
    assert gateway.gaps() == []
    gateway.restart(step[1])
    the_next_run_goes_on(rig, gateway, step[1])


def test_a_clock_that_is_set_between_two_runs_loses_nothing(rig: Rig, gateway: Gateway, step: tuple[int, int]) -> None:
    for mode in (1, 2):
        gateway.say(mode)
    gateway.flow.kill()
    gateway.set_clock(step[1])
    gateway.flow.start()
    for mode in (3, 4, 5):
        gateway.say(mode)
    assert gateway.modes == [1, 2, 3, 4, 5]
    (gap,) = gateway.gaps()
    assert gap["from"] <= gap["to"]
    gateway.restart(step[1])
    the_next_run_goes_on(rig, gateway, step[1])


def the_next_run_goes_on(rig: Rig, gateway: Gateway, ahead_s: int) -> None:
    """After a kill the gap is by the clock as it is now, every account adds up, and derived state is the fold."""
    gateway.say(6)
    gap = gateway.gaps()[-1]
    now = int((time.time() + ahead_s) * S)
    assert now - 10 * PATIENCE_S * S < gap["from"] <= gap["to"] <= now + MOST_SLOWED_S * S
    gateway.flow.kill()
    rig.finish(["derive"])
    rig.stop("derive")
    batches = proof.stream(rig.site)
    proof.prove_derived(rig.site, batches)
    accounts = Accounts({batch.partition: 0 for batch in batches})
    for batch in batches:
        for offset, record in zip(batch.offsets, batch.records, strict=True):
            accounts.record(batch.partition, offset, record)
    assert accounts.finish()[1] == []
