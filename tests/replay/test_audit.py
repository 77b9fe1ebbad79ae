"""Audit: everything that each source received is accounted for, up to the archive and NATS; what is not is named."""

import asyncio
from pathlib import Path

import polars as pl
import pytest

from replay.audit import audit
from sinks._jetstream import connect
from sinks.nats import find_last_values
from tests.replay.live_plant import Plant

SUBJECT = "assets.acme.hamburg.forming.line-1.press-03.state"


def test_an_intact_plant_has_nothing_unexplained(plant: Plant) -> None:
    report = audit(plant.site)
    assert report.deviations == []
    assert report.unexplained == 0
    assert report.undecodable == 0
    for source in report.sources.values():
        assert source.received == source.published + source.suppressed + source.rejected + source.buffered
        assert (source.published, source.in_flight) == (source.on_stream, 0)
    assert report.totals.received == sum(source.received for source in report.sources.values())
    assert report.archive.rows == report.archive.on_stream > 1000
    assert report.serve is not None
    assert (report.serve.subjects, report.serve.on_stream, report.serve.newer) == (64, 64, 0)


@pytest.mark.parametrize("table", ["observations", "derived"])
def test_a_row_that_is_missing_and_one_that_stands_twice_are_named_with_their_file(plant: Plant, table: str) -> None:
    folder = plant.site.archive_folder(1) / table
    path = max(folder.glob("date=2025-*/*.parquet"), key=lambda file: file.stat().st_size)
    content, rows = path.read_bytes(), pl.read_parquet(path, hive_partitioning=False)
    pl.concat([rows[:1], rows[2:], rows[-1:]]).write_parquet(path)
    try:
        report = audit(plant.site)
    finally:
        path.write_bytes(content)
    gone = rows.row(1, named=True)
    (deviation,) = report.deviations
    assert (report.unexplained, report.archive.unexplained) == (2, 2)
    assert (deviation.kind, deviation.partition, deviation.offset) == ("archive", gone["part"], gone["offset"])
    assert deviation.file is not None
    assert Path(deviation.file) == path.relative_to(folder)


def test_a_subject_with_another_value_is_named(plant: Plant) -> None:
    stored = asyncio.run(find_last_values(plant.site.nats))
    assert stored is not None

    async def publish(payload: bytes) -> None:
        async with connect(plant.site.nats) as client:
            await client.jetstream().publish(SUBJECT, payload)

    asyncio.run(publish(b'{"origin":[8,1,0]}'))
    try:
        report = audit(plant.site)
    finally:
        asyncio.run(publish(stored[SUBJECT]))
    (deviation,) = report.deviations
    assert (deviation.kind, deviation.subject, report.unexplained) == ("serve", SUBJECT, 1)
    assert deviation.detail.startswith("NATS has index 0 of offset 1 in partition 8, the stream has index")
