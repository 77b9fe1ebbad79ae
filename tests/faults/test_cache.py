"""Everything but Kafka is a cache: recovery stores, NATS and Parquet deleted come back the same."""

import shutil
from hashlib import blake2b
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from deploy.wait import until
from flows._site import progress_group
from replay._verify_serve import read_values
from replay.archive import connect
from tests.faults import proof
from tests.faults.rig import PATIENCE_S, VIEWS, Rig

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

TABLES = {
    "observations": 'SELECT * FROM observations_all ORDER BY part, "offset", idx',
    "derived": 'SELECT * FROM derived ORDER BY part, "offset"',
}


def test_all_views_come_back_from_the_stream_with_the_same_rows_and_values(rig: Rig) -> None:
    rig.writer.write(300)
    rig.start(*VIEWS)
    ends = rig.settle()
    rig.stop(*VIEWS)
    rig.prove(ends)
    rows, values, derived = hashes(rig), read_values(rig.site, 1, 1), proof.events(rig.site)
    forget_all(rig)
    rig.start(*VIEWS)
    rig.finish()
    rig.stop(*VIEWS)
    rig.prove(ends)
    assert hashes(rig) == rows
    assert read_values(rig.site, 1, 1) == values
    assert proof.events(rig.site) == derived
    assert len(values) > 0


def test_every_view_equals_its_rebuild(rig: Rig) -> None:
    proof.prove_rebuilt(rig.site)


def forget_all(rig: Rig) -> None:
    """Delete all recovery stores, the archive, the data of NATS, and how far the views noted to be."""
    nats = rig.stack.services["nats"]
    nats.stop()
    archive: Path = rig.site.archive_folder(1)
    for folder in (nats.data, archive, *(rig.folder / "recovery" / view for view in VIEWS)):
        shutil.rmtree(folder)
    nats.start()
    until(nats.ready, PATIENCE_S, "nats")
    admin = AdminClient({"bootstrap.servers": rig.site.kafka.bootstrap})
    for done in admin.delete_consumer_groups([progress_group(view, 1) for view in VIEWS]).values():
        done.result(PATIENCE_S)  # or the progress of before would pass for that of now


def hashes(rig: Rig) -> dict[str, tuple[int, str]]:
    """Per table the number of rows, and a hash of all of them in order."""
    found = {}
    with connect(rig.site.archive_folder(1)) as archive:
        for name, query in TABLES.items():
            rows = archive.execute(query).fetchall()
            found[name] = len(rows), blake2b(repr(rows).encode()).hexdigest()
    assert all(count for count, _ in found.values())
    return found
