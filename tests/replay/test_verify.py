"""Verify: whatever is taken out of a generation, put in or changed is counted and named."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from assets.condition import Refused
from assets.stream import ASSET_STREAM, state_topic
from replay._compare import Verdict
from replay._generations import VIEW_NAMES, Generations
from replay.rebuild import rebuild
from replay.verify import verify
from sinks._jetstream import connect
from sinks._kafka import shared_producer
from sinks.kafka import delete_topic, ensure_topics, stream_topics
from sources.kafka import read_range, watermarks
from tests.replay.live_plant import Plant

Record = tuple[int, bytes | None, bytes | None]


def spoil_topic(plant: Plant, change: Callable[[list[Record]], list[Record]]) -> Verdict:
    """Verify a generation of derived state whose topic was written again with a change."""
    rebuild(plant.site, "derive")
    topic = state_topic(2)
    kafka = plant.site.kafka
    records = [
        (batch.partition, key, value)
        for batch in read_range(kafka, topic, watermarks(kafka, topic))
        for key, value in zip(batch.keys, batch.values, strict=True)
    ]
    delete_topic(kafka, topic)
    ensure_topics(kafka, stream_topics(2))
    producer = shared_producer(kafka)
    for partition, key, value in change(records):
        producer.produce(topic, value, key, partition)
    producer.drain_within(30)
    return verify(plant.site, "derive")


def test_a_topic_written_again_unchanged_is_equal(plant: Plant) -> None:
    assert spoil_topic(plant, lambda records: records).differences == 0


def test_removed_changed_and_added_events_are_named(plant: Plant) -> None:
    gone: list[Record] = []

    def spoil(records: list[Record]) -> list[Record]:
        partition, key, value = records[9]
        records[9] = (partition, key, json.dumps({**json.loads(value or b""), "value": "changed"}).encode())
        gone.append(records.pop(0))
        return [*records, records[3], (3, b"press-01", b"not json")]

    verdict = spoil_topic(plant, spoil)
    event = json.loads(gone[0][2] or b"")
    assert (verdict.differences, verdict.hash_live == verdict.hash_rebuilt) == (4, False)
    assert verdict.first is not None
    assert verdict.first.series == f"{event['asset']}/{event['metric']}"
    assert [verdict.first.partition, verdict.first.offset, verdict.first.index] == event["basis"]
    assert (verdict.first.live, verdict.first.rebuilt) == (event, None)


@pytest.fixture(scope="module")
def archived(plant: Plant) -> Path:
    """A rebuilt archive; who spoils it puts it right again."""
    rebuild(plant.site, "archive")
    return plant.site.archive_folder(2)


def largest(archive: Path, table: str) -> Path:
    files = (archive / table).glob("date=2025-*/*.parquet")
    return max(files, key=lambda file: pl.scan_parquet(file).select(pl.len()).collect().item())


def spoil_archive(plant: Plant, path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Verdict:
    """Verify while the rows of a file are others."""
    content = path.read_bytes()
    change(pl.read_parquet(path, hive_partitioning=False)).write_parquet(path)
    try:
        return verify(plant.site, "archive")
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("table", ["observations", "derived"])
def test_a_removed_row_is_named(plant: Plant, archived: Path, table: str) -> None:
    path = largest(archived, table)
    gone = pl.read_parquet(path).row(1, named=True)
    verdict = spoil_archive(plant, path, lambda rows: pl.concat([rows[:1], rows[2:]]))
    assert (verdict.differences, verdict.hash_live == verdict.hash_rebuilt) == (1, False)
    assert verdict.first is not None
    assert (verdict.first.partition, verdict.first.offset) == (gone["part"], gone["offset"])
    assert verdict.first.series.startswith(f"{gone['asset']}/")
    assert verdict.first.rebuilt is None


@pytest.mark.parametrize("column", ["ts", "lag_us", "status", "flags", "source", "item"])
def test_a_changed_column_is_named_with_both_values(plant: Plant, archived: Path, column: str) -> None:
    changes: dict[str, pl.Expr] = {
        "ts": pl.col("ts") + pl.duration(microseconds=1),
        "source": pl.lit("x"),
        "item": pl.lit("x"),
    }
    changed = changes.get(column, pl.col(column) + 1).alias(column)

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([rows[:2], rows[2:3].with_columns(changed.cast(rows.schema[column])), rows[3:]])

    verdict = spoil_archive(plant, largest(archived, "observations"), change)
    assert verdict.differences == 1
    assert verdict.first is not None
    different = {name for name in verdict.first.live if verdict.first.live[name] != verdict.first.rebuilt[name]}
    assert different == {column}


def test_a_row_that_stands_twice_is_named(plant: Plant, archived: Path) -> None:
    verdict = spoil_archive(plant, largest(archived, "observations"), lambda rows: pl.concat([rows, rows[:1]]))
    assert verdict.differences == 1
    assert verdict.first is not None
    assert verdict.first.live is None


def test_a_missing_file_is_named_with_its_rows(plant: Plant, archived: Path) -> None:
    path = largest(archived, "observations")
    content = path.read_bytes()
    path.unlink()
    try:
        verdict = verify(plant.site, "archive")
    finally:
        path.write_bytes(content)
    assert verdict.differences == pl.read_parquet(path).height + 1
    assert verdict.first is not None
    assert verdict.first.series == f"file {path.relative_to(archived / 'observations')}"


SUBJECTS = "rebuild.g2.assets.acme.hamburg.forming.line-1"


def test_removed_and_other_messages_are_named_with_both(plant: Plant) -> None:
    rebuild(plant.site, "serve")

    async def spoil() -> None:
        async with connect(plant.site.nats) as client:
            stream = client.jetstream()
            await stream.purge_stream("penstock-g2", subject=f"{SUBJECTS}.press-03.state")
            await stream.publish(f"{SUBJECTS}.press-04.state", b"not json")
            await stream.publish(f"{SUBJECTS}.press-05.state", b'{"origin":[3,0,0]}')
            await stream.publish(f"{SUBJECTS}.press-99.state", b'{"origin":[3,0,0]}')

    asyncio.run(spoil())
    verdict = verify(plant.site, "serve")
    assert (verdict.differences, verdict.hash_live == verdict.hash_rebuilt) == (4, False)
    assert verdict.first is not None
    assert verdict.first.series == "assets.acme.hamburg.forming.line-1.press-04.state"
    assert verdict.first.live["item"] == "state"
    assert verdict.first.rebuilt == "not json"


def test_what_only_one_of_both_has_finished_is_newer_and_no_difference(plant: Plant) -> None:
    ends = {p: high // 2 for p, (_, high) in watermarks(plant.site.kafka, ASSET_STREAM).items()}
    for view in VIEW_NAMES:
        rebuild(plant.site, view, to=ends)
        verdict = verify(plant.site, view)
        assert verdict.differences == 0
        assert verdict.newer > 0


def test_a_generation_that_does_not_exist_is_refused(plant: Plant) -> None:
    with pytest.raises(Refused, match='could not use generation 7 of view "derive": it does not exist or its rebuild'):
        verify(plant.site, "derive", 7)


def test_a_generation_is_not_compared_with_itself(plant: Plant) -> None:
    with pytest.raises(Refused, match='could not compare generation 1 of view "serve" with itself'):
        verify(plant.site, "serve", 1)


def test_a_view_that_was_never_rebuilt_is_refused(plant: Plant) -> None:
    Generations(plant.site, "derive").forget(2)
    with pytest.raises(Refused, match="there is only generation 1, which is live; make one with: python -m replay"):
        verify(plant.site, "derive")
