"""Audit: everything that each source received is accounted for, up to the archive and NATS."""

from replay.audit import audit
from tests.replay.live_plant import Plant


def test_an_intact_plant_has_nothing_unexplained(plant: Plant) -> None:
    report = audit(plant.site)
    print(report)
    assert report.deviations == []
    assert report.unexplained == 0
