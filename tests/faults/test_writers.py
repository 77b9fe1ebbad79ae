"""Two ingest processes of one name on two machines: each says so, `status` and `audit` do, and nothing is lost."""

from collections.abc import Iterator
from typing import Final

import pytest

from assets.frame import Frame
from assets.stream import REMOVED
from deploy.processes import Flow
from deploy.wait import until
from operators._writers import Interleaving
from replay._accounts import Accounts
from replay.status import status
from tests.faults import proof
from tests.faults.meter import Meter
from tests.faults.rig import PATIENCE_S, Rig

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

NAME: Final = "gw-1"
PLANT: Final = """
sources:
  of-{asset}: {{protocol: modbus, endpoint: "tcp://127.0.0.1:{port}", unit: 1, poll: 1s}}
types:
  meter: {{items: {{energy: {{category: SAMPLE}}}}}}
assets:
  {asset}: {{type: meter, path: acme/hamburg/forming/line-1, source: of-{asset}, address: "holding:1 uint16"}}
"""


class Machine:
    """A computer with a plant folder and a disk of its own."""

    def __init__(self, rig: Rig, asset: str, port: int) -> None:
        self.rig, self.asset = rig, asset
        data = rig.folder / asset
        plant = data / "plant"
        plant.mkdir(parents=True)
        (plant / "plant.yaml").write_text(PLANT.format(asset=asset, port=port))
        self.log = rig.folder / "logs" / f"{asset}.log"
        own = {"PENSTOCK_PLANT": str(plant), "PENSTOCK_DATA": str(data), "PENSTOCK_GATEWAY": NAME}
        self.flow = Flow("ingest", {**rig.environment, **own}, self.log, data / "recovery")

    def start(self) -> None:
        """Start ingest; its asset has been told of by this run."""
        before = self.runs
        self.flow.start()
        until(lambda: self._told(before), PATIENCE_S, self.asset)

    def _told(self, before: set[int]) -> bool:
        assert self.flow.running, self.flow.crash_report()
        return self.runs > before

    @property
    def runs(self) -> set[int]:
        """The runs that have told of its asset."""
        return {frame.run for frame in frames(self.rig) if frame.asset == self.asset and not removes(frame)}

    def until_said(self, words: str, times: int = 1) -> None:
        """Wait for words in its log."""
        until(lambda: self.log.read_text().count(words) >= times, 2 * PATIENCE_S, words)


def frames(rig: Rig) -> list[Frame]:
    """All frames of the stream."""
    return [r for batch in proof.stream(rig.site) for r in batch.records if isinstance(r, Frame)]


def removes(frame: Frame) -> bool:
    return any(o.item == REMOVED for o in frame.observations)


@pytest.fixture
def machines(rig: Rig) -> Iterator[tuple[Machine, Machine]]:
    """Two of them, whose ingest has the same name."""
    with Meter() as meter:
        both = Machine(rig, "meter-a", meter.device.port), Machine(rig, "meter-b", meter.device.port)
        yield both
        for machine in both:
            if machine.flow.running:
                machine.flow.kill()


def test_two_processes_of_one_name_are_told_and_do_each_other_no_harm(
    rig: Rig, machines: tuple[Machine, Machine]
) -> None:
    one, other = machines
    one.start()
    one.flow.kill()
    one.start()
    assert status(rig.site).writers == []
    other.start()
    expected = Interleaving(NAME, (max(one.runs), max(other.runs)))
    until(lambda: status(rig.site).writers == [expected], PATIENCE_S, "two writers")
    assert str(expected) in status(rig.site).faults(1e9)
    for machine in machines:
        machine.until_said('two writers named "gw-1"')
    other.flow.kill()
    other.start()
    other.until_said("are not removed")
    one.flow.kill()
    until(lambda: status(rig.site).writers == [], PATIENCE_S, "one writer")
    assert not any(map(removes, frames(rig)))
    other.flow.kill()
    other.flow.start()
    until(lambda: [f.asset for f in frames(rig) if removes(f)] == [one.asset], PATIENCE_S, "the removal")
    other.flow.kill()
    accounts = accounts_of(rig)
    assert accounts.writers.found[0] == expected
    assert accounts.finish()[1] == []


def accounts_of(rig: Rig) -> Accounts:
    """What `audit` makes of the stream."""
    batches = proof.stream(rig.site)
    accounts = Accounts({batch.partition: 0 for batch in batches})
    for batch in batches:
        for offset, record in zip(batch.offsets, batch.records, strict=True):
            accounts.record(batch.partition, offset, record)
    return accounts
