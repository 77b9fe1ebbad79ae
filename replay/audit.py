"""Audit: prove that what every source received is accounted for, from its ticks to the archive and to NATS.

The stream is read once. Per source and run, received = published + suppressed + rejected + buffered, and what was
published stands on the stream, without a hole in any sequence. What the archive has published has exactly the rows of
the stream, and each subject of NATS has the newest value up to where `serve` has finished.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec

from assets.batch import Batch
from assets.frame import Frame
from assets.stream import ASSET_STREAM, state_topic
from flows._site import Site
from operators._writers import Interleaving
from operators.decode import FrameDecoder, decode_events
from replay._accounts import Accounts, Deviation, SourceReport
from replay._audit_archive import ArchiveCheck, Origins, origins_of
from replay._audit_serve import ServeCheck
from replay._generations import Generations, live_stream
from replay._parquet import SERIES, Table
from replay._verify_serve import finished_values
from replay.progress import bar
from sinks.nats import find_last_values
from sources.kafka import read_range, watermarks

MOST_DEVIATIONS: Final = 100


class ArchiveReport(msgspec.Struct):
    """How many rows the published ranges should have, and have."""

    on_stream: int
    rows: int
    unexplained: int


class ServeReport(msgspec.Struct):
    """How many subjects the stream speaks of and NATS has; `newer` ones lie beyond the range looked at."""

    on_stream: int
    subjects: int
    newer: int
    unexplained: int


class Report(msgspec.Struct):
    """All that was found; `unexplained` is 0 when everything adds up, else `deviations` names (the first of) it.

    `writers` are gateways' names under which two processes wrote at a time: each of them adds up for itself.
    """

    sources: dict[str, SourceReport]
    totals: SourceReport
    records: int
    undecodable: int
    archive: ArchiveReport
    serve: ServeReport | None
    unexplained: int
    deviations: list[Deviation]
    writers: list[Interleaving] = []


def audit(site: Site, *, shown: bool = False) -> Report:
    """Audit the live views; what they have finished is asked before the end of the stream, so they are never ahead."""
    return _Audit(site).run(shown=shown)


class _Audit:
    def __init__(self, site: Site) -> None:
        self._site = site
        archive, serve = Generations(site, "archive"), Generations(site, "serve")
        self._derived = site.generation("derive")
        folder = site.archive_folder(archive.live)
        self._tables = {name: ArchiveCheck(Table(folder, name)) for name in SERIES}
        self._serve = ServeCheck(*finished_values(site, serve, serve.live))
        self._stored = asyncio.run(find_last_values(site.nats, live_stream(serve.live, serve.live)))
        self._ranges = {t: watermarks(site.kafka, t) for t in (ASSET_STREAM, state_topic(self._derived))}
        self._decode = FrameDecoder(site.partitions())
        self._accounts = Accounts({p: low for p, (low, _) in self._ranges[ASSET_STREAM].items()})
        self._records = self._undecodable = 0

    def run(self, *, shown: bool) -> Report:
        total = sum(high - low for ranges in self._ranges.values() for low, high in ranges.values())
        with bar("auditing", total, shown=shown, now=lambda: self._records):
            self._read_stream()
            self._read_derived()
        sources, deviations = self._accounts.finish()
        archived = list(self._tables["observations"].compare(self._reread_observations))
        archived += self._tables["derived"].compare(self._reread_events)
        served = [] if self._stored is None else list(self._serve.compare(self._stored))
        deviations += [*archived, *served]
        totals = SourceReport()
        for report in sources.values():
            totals.add(report)
        return Report(
            sources,
            totals,
            self._records,
            self._undecodable,
            ArchiveReport(
                sum(check.on_stream for check in self._tables.values()),
                sum(check.rows for check in self._tables.values()),
                _sum(archived),
            ),
            None if self._stored is None else self._served(self._stored, served),
            _sum(deviations),
            deviations[:MOST_DEVIATIONS],
            self._accounts.writers.found,
        )

    def _served(self, stored: dict[str, bytes], found: list[Deviation]) -> ServeReport:
        return ServeReport(self._serve.subjects, len(stored), self._serve.newer, _sum(found))

    def _read_stream(self) -> None:
        for raw in read_range(self._site.kafka, ASSET_STREAM, self._ranges[ASSET_STREAM]):
            batch, rejected = self._decode(raw)
            self._records += len(raw.offsets)
            self._undecodable += len(rejected)
            for offset, record in zip(batch.offsets, batch.records, strict=True):
                self._accounts.record(batch.partition, offset, record)
            self._tables["observations"].take(batch.partition, batch.next, _origins(batch))
            self._serve.take(batch)

    def _read_derived(self) -> None:
        topic = state_topic(self._derived)
        for raw in read_range(self._site.kafka, topic, self._ranges[topic]):
            batch, rejected = decode_events(raw)
            self._records += len(raw.offsets)
            self._undecodable += len(rejected)
            origins = origins_of(batch.offsets, [1] * len(batch.offsets))
            self._tables["derived"].take(batch.partition, batch.next, origins)
            self._serve.take_derived(batch)

    def _reread_observations(self, partition: int, start: int, end: int) -> Iterator[Origins]:
        for raw in read_range(self._site.kafka, ASSET_STREAM, {partition: (start, end)}):
            yield _origins(self._decode(raw)[0])

    def _reread_events(self, partition: int, start: int, end: int) -> Iterator[Origins]:
        for raw in read_range(self._site.kafka, state_topic(self._derived), {partition: (start, end)}):
            offsets = decode_events(raw)[0].offsets
            yield origins_of(offsets, [1] * len(offsets))


def _origins(batch: Batch) -> Origins:
    counts = [len(record.observations) if isinstance(record, Frame) else 0 for record in batch.records]
    return origins_of(batch.offsets, counts)


def _sum(deviations: list[Deviation]) -> int:
    return sum(deviation.count for deviation in deviations)
