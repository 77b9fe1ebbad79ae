"""Ingest is killed while a device does not keep up: the polls that were left out lie in a gap all the same."""

from typing import Final

import pytest

from assets.frame import Frame, SourceAccount, Tick
from deploy.processes import Flow
from deploy.wait import until
from tests.faults import proof
from tests.faults.meter import Meter
from tests.faults.rig import PATIENCE_S, Rig

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

SLOW_S: Final = 0.3
SPAN: Final = 5
"""So many ticks in a row tell of losses that no gap tells of."""
PLANT: Final = """
sources:
  meter: {{protocol: modbus, endpoint: "tcp://127.0.0.1:{port}", unit: 1, poll: 100ms, timeout: 20s}}
types:
  meter: {{items: {{energy: {{category: SAMPLE}}}}}}
assets:
  meter-01: {{type: meter, path: acme/hamburg/forming/line-1, source: meter, address: "holding:1 uint16"}}
"""


def test_polls_left_out_before_a_kill_lie_in_the_gap_of_the_next_run(rig: Rig) -> None:
    with Meter() as meter:
        meter.device.late_s = SLOW_S
        flow = ingest(rig, meter.device.port)
        flow.start()
        until(lambda: (flow.running and len(span(rig)) >= SPAN) or None, PATIENCE_S, "a span that lasts")
        flow.kill()
        losing = span(rig)
        meter.device.late_s = 0.0
        flow.start()
        gap = until(lambda: restart_gap(rig), PATIENCE_S, "the gap of the next run")
        flow.kill()
    since, marks = losing[0].untold_since, [account.mark for account in losing if account.mark is not None]
    assert since is not None
    assert gap[0] <= since < marks[0] < marks[-1] < gap[1]


def ingest(rig: Rig, port: int) -> Flow:
    """Ingest of that one device."""
    plant = rig.folder / "slow" / "plant"
    plant.mkdir(parents=True)
    (plant / "plant.yaml").write_text(PLANT.format(port=port))
    own = {"PENSTOCK_PLANT": str(plant), "PENSTOCK_GATEWAY": "gw-slow"}
    return Flow("ingest", {**rig.environment, **own}, rig.folder / "logs" / "slow.log", plant.with_name("recovery"))


def span(rig: Rig) -> list[SourceAccount]:
    """The newest accounts that tell of one span of losses, as long as the last one does."""
    ticks = [r for batch in proof.stream(rig.site) for r in batch.records if isinstance(r, Tick)]
    accounts = [tick.sources["meter"] for tick in ticks if "meter" in tick.sources]
    newest = accounts[-1].untold_since if accounts else None
    return [a for a in accounts if newest is not None and a.untold_since == newest]


def restart_gap(rig: Rig) -> tuple[int, int] | None:
    """From when to when nobody listened."""
    frames = [r for batch in proof.stream(rig.site) for r in batch.records if isinstance(r, Frame)]
    for value in (o.value for frame in frames for o in frame.observations if o.item == "_gap"):
        if isinstance(value, dict) and value["reason"] == "the gateway was not running":
            return value["from"], value["to"]
    return None
