"""What the ingest flow needs to be one gateway: its plant, what its earlier runs left, and its way to Kafka."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Final, Self

from assets.condition import Refused
from assets.connection import KafkaConnection
from assets.plant import Plant, load
from assets.stream import ASSET_STREAM, DEAD_LETTERS, partition_of
from flows._site import Site
from flows._store import named_store
from operators._tails import Tails
from operators.normalize import KEY_FRAME_INTERVAL_US, Normalizer
from sinks._outbox import Outbox
from sinks._spool import Spool
from sinks._spooled import SpooledSink, missing_by_id, open_outbox
from sources import connect
from sources._devices import Devices, now_us
from sources._kafka_newest import newest_us
from sources._partition import Stop
from sources.kafka import offsets_at, partition_count, read_range, watermarks

log = logging.getLogger(__name__)

LOOK_BACK_US: Final = KEY_FRAME_INTERVAL_US + 60_000_000
"""How far before its end the tail begins: every asset has had a key frame since; a minute more for late ones."""


@dataclass(frozen=True)
class Gateway:
    """One ingest process: its plant and its name; `run` is the instant of its start (us)."""

    name: str
    run: int
    plant: Plant
    partitions: int
    sources: tuple[str, ...]
    tails: Tails = field(default_factory=lambda: Tails(""))

    @classmethod
    def of(cls, site: Site) -> tuple[Self, Outbox]:
        """The gateway of this process and its way to Kafka; copy i of N owns every N-th source.

        The plant is checked before all else. A run is newer than those before it, whatever the clock says.
        """
        plant = load(site.plant)
        i, n = map(int, site.copy.split("/"))
        name = site.gateway if n == 1 else f"{site.gateway}-{i}"
        check_spools(site, n)
        spool = Spool(site.data / "spool" / name, site.spool_bytes)
        site.create_topics()
        partitions = site.partitions()
        tails = read_tails(site.kafka, Tails(name), spool, partitions)
        letters = missing_by_id(spool, site.kafka, DEAD_LETTERS, site.stop)
        outbox = open_outbox(spool, site.kafka, site.stop, {ASSET_STREAM: tails.missing, DEAD_LETTERS: letters})
        run = max(now_us(), tails.run + 1)
        return cls(name, run, plant, partitions, tuple(sorted(plant.sources)[i::n]), tails), outbox

    def devices(self, stop: Stop, outbox: Outbox) -> Devices:
        """All sources of this gateway; while the outbox is full, what they read is dropped and counted."""
        plant = self.plant
        sources = {s: connect(s, plant.sources[s], plant.addresses(s)) for s in self.sources}
        store = named_store()
        return Devices(sources, stop, lambda: outbox.full, store.parts("ingest.devices") if store else ())

    @property
    def normalizers(self) -> dict[str, Callable[[], Normalizer]]:
        """A maker of the normalizer of each source."""
        return {name: partial(self._normalizer, name) for name in self.sources}

    def _normalizer(self, source: str) -> Normalizer:
        skew = self.plant.sources[source].max_skew
        normalizer = Normalizer(source, self.plant.bindings(source), max_skew_us=skew, run=self.run)
        homes = {partition_of(asset, self.partitions) for asset in self._assets_of(source)}
        normalizer.seed(self.tails.last, self.tails.mark(source, homes))
        return normalizer

    @property
    def assets_of(self) -> dict[str, set[str]]:
        """The assets that each source tells of."""
        return {source: self._assets_of(source) for source in self.sources}

    @property
    def gone(self) -> set[str]:
        """The assets that earlier runs told of and the plant no longer has."""
        return self.tails.assets - set(self.plant.assets)

    def _assets_of(self, source: str) -> set[str]:
        return {binding.asset for bound in self.plant.bindings(source).values() for binding in bound}


def check_spools(site: Site, copies: int) -> None:
    """Refuse another number of copies while what the former ones spooled waits for Kafka: nobody would send it."""
    own = {site.gateway} if copies == 1 else {f"{site.gateway}-{i}" for i in range(copies)}
    for folder in sorted((site.data / "spool").glob(f"{site.gateway}*")):
        if folder.name in own or not re.fullmatch(re.escape(site.gateway) + r"(-\d+)?", folder.name):
            continue
        spool = Spool(folder, site.spool_bytes)
        waits = next(spool.pending(), None) is not None
        spool.close()
        if waits:
            raise Refused(
                f'could not start {copies} copies of ingest: the spool "{folder}" of another number of copies holds '
                "records that Kafka does not have; start ingest once with the former number, until it has sent them"
            )


def frames_sink(outbox: Outbox, gateway: Gateway) -> SpooledSink:
    """Where ingest writes frames and ticks."""
    return SpooledSink(outbox, ASSET_STREAM, gateway.partitions)


def letters_sink(outbox: Outbox, site: Site) -> SpooledSink:
    """Where ingest puts what it could not use."""
    return SpooledSink(outbox, DEAD_LETTERS, partition_count(site.kafka, DEAD_LETTERS))


def read_tails(connection: KafkaConnection, tails: Tails, spool: Spool, partitions: int) -> Tails:
    """What the earlier runs of a gateway wrote last: on the stream, and behind it in the spool."""
    asked_at = monotonic()
    bounds = _tail_bounds(connection, spool, partitions)
    for batch in read_range(connection, ASSET_STREAM, bounds):
        tails.read(batch)
    waiting = 0
    for block in spool.pending():
        waiting += 1
        if block.topic == ASSET_STREAM:
            tails.follow(block.records)
    log.info(
        "read %d records back in %.1f s: %d items are known; %d blocks of the spool may not have been sent",
        sum(end - start for start, end in bounds.values()),
        monotonic() - asked_at,
        len(tails.last),
        waiting,
    )
    return tails


def _tail_bounds(connection: KafkaConnection, spool: Spool, partitions: int) -> dict[int, tuple[int, int]]:
    """From where on a gateway's last values stand on the stream, and what of its spool may stand there already."""
    known = spool.checkpoint
    at = known.at or newest_us(connection, ASSET_STREAM, partitions)
    if not known.at and spool.oldest_at:
        at = min(at, spool.oldest_at)
    begin = offsets_at(connection, ASSET_STREAM, max(0, at - LOOK_BACK_US))
    bounds = {}
    for partition, (low, high) in watermarks(connection, ASSET_STREAM).items():
        _, noted = known.parts.get(f"{ASSET_STREAM}/{partition}", (0, high))
        bounds[partition] = max(low, min(begin[partition], noted)), high
    return bounds
