"""What must hold after any fault: the views are exactly what the stream says, each row once and in order."""

from collections import defaultdict
from typing import Any

from assets.batch import Batch
from assets.frame import DerivedEvent, Frame, decode_event, encode_event
from assets.stream import ASSET_STREAM, state_topic
from flows._site import Site
from operators._assets import Assets
from operators.decode import FrameDecoder
from operators.rules import Rules
from replay._parquet import Table
from replay.archive import connect
from replay.audit import audit
from replay.rebuild import rebuild
from replay.verify import verify
from sources.kafka import read_range, watermarks

Rows = list[tuple[Any, ...]]
Ends = dict[str, dict[int, int]]

OBSERVATIONS = 'SELECT part, "offset", idx, asset, item FROM observations_all ORDER BY ALL'
DERIVED = 'SELECT part, "offset", asset, metric, id FROM derived ORDER BY ALL'


def ends(site: Site) -> Ends:
    """Where both topics end now."""
    topics = (ASSET_STREAM, state_topic(1))
    return {topic: {p: high for p, (_, high) in watermarks(site.kafka, topic).items()} for topic in topics}


def stream(site: Site) -> list[Batch]:
    """All of the stream, decoded; nothing in it is refused."""
    decode = FrameDecoder(site.partitions())
    batches = []
    for raw in read_range(site.kafka, ASSET_STREAM, watermarks(site.kafka, ASSET_STREAM)):
        batch, refused = decode(raw)
        assert not refused
        batches.append(batch)
    return batches


def events(site: Site) -> dict[int, list[tuple[int, bytes]]]:
    """All of derived state, as it stands there: per partition offset and record."""
    found: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for raw in read_range(site.kafka, state_topic(1), watermarks(site.kafka, state_topic(1))):
        for offset, value in zip(raw.offsets, raw.values, strict=True):
            assert value is not None
            found[raw.partition].append((offset, value))
    return found


def prove_derived(site: Site, batches: list[Batch]) -> dict[int, list[tuple[int, bytes]]]:
    """Derived state is what the rules make of the stream in one piece: each event once, in order, byte for byte."""
    rules: dict[int, Assets[Rules]] = {}
    wanted: dict[int, list[bytes]] = defaultdict(list)
    for batch in batches:
        made = rules.setdefault(batch.partition, Assets(batch.partition, "rules", Rules))
        wanted[batch.partition] += [encode_event(event) for event in made.batch(batch)]
    found = events(site)
    for partition in {*wanted, *found}:
        has = [value for _, value in found[partition]]
        if has != wanted[partition]:
            raise AssertionError(f"partition {partition}: {differing(has, wanted[partition])}")
    return found


def differing(has: list[bytes], wanted: list[bytes]) -> str:
    """The first place where two lists of records part."""
    n = next((n for n, (a, b) in enumerate(zip(has, wanted, strict=False)) if a != b), min(len(has), len(wanted)))
    return f"{len(has)} events instead of {len(wanted)}; event {n} is {has[n : n + 1]} instead of {wanted[n : n + 1]}"


def prove_archived(site: Site, until: Ends, batches: list[Batch], derived: dict[int, list[tuple[int, bytes]]]) -> None:
    """Parquet has every row of the stream up to `until` (and what else it has published) exactly once."""
    root = site.archive_folder(1)
    extents = {name: published(root, name) for name in ("observations", "derived")}
    for name, topic in (("observations", ASSET_STREAM), ("derived", state_topic(1))):
        for partition, end in until[topic].items():
            assert extents[name].get(partition, 0) >= end, (name, partition, end, extents[name])
    with connect(root) as archive:
        same(archive.execute(OBSERVATIONS).fetchall(), observation_rows(batches, extents["observations"]))
        same(archive.execute(DERIVED).fetchall(), derived_rows(derived, extents["derived"]))


def published(root: Any, name: str) -> dict[int, int]:
    """Per partition the offset up to which a table is published, from the first record on."""
    table = Table(root, name)
    assert not list(table.missing())
    assert {table.extent(p)[0] for p in table.ranges if table.ranges[p]} <= {0}
    return {p: table.extent(p)[1] for p in table.ranges}


def observation_rows(batches: list[Batch], until: dict[int, int]) -> Rows:
    """The rows that the stream makes."""
    return sorted(
        (batch.partition, offset, n, record.asset, o.item)
        for batch in batches
        for offset, record in zip(batch.offsets, batch.records, strict=True)
        if isinstance(record, Frame) and offset < until.get(batch.partition, 0)
        for n, o in enumerate(record.observations)
    )


def derived_rows(derived: dict[int, list[tuple[int, bytes]]], until: dict[int, int]) -> Rows:
    """The rows that derived state makes."""
    told = [
        (partition, offset, decode_event(value))
        for partition, records in derived.items()
        for offset, value in records
        if offset < until.get(partition, 0)
    ]
    return sorted((partition, offset, *name(event)) for partition, offset, event in told)


def name(event: DerivedEvent) -> tuple[str, str, str]:
    return event.asset, event.metric, event.id


def same(has: Rows, wanted: Rows) -> None:
    """Two sorted lists of rows are equal; if not, say what is missing and what is too much."""
    if has != wanted:
        missing, surplus = sorted({*wanted} - {*has})[:3], sorted({*has} - {*wanted})[:3]
        raise AssertionError(f"{len(has)} rows instead of {len(wanted)}; missing {missing}, too much {surplus}")


def prove_accounts(site: Site) -> None:
    """The audit explains everything: every source, every row of the archive, every last value in NATS."""
    report = audit(site)
    assert report.unexplained == 0, report.deviations
    assert report.undecodable == 0
    assert report.archive.rows > 0
    assert report.serve is not None
    assert report.serve.subjects > 0


def prove_rebuilt(site: Site) -> None:
    """Every view equals its rebuild."""
    for view in ("derive", "serve", "archive"):
        rebuild(site, view)
        verdict = verify(site, view)
        assert verdict.differences == 0, verdict.first
        assert verdict.hash_live == verdict.hash_rebuilt
        assert verdict.compared > 0
