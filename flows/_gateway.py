"""What the ingest flow needs to be one gateway: its plant, what its earlier runs left, and its way to Kafka."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from assets.condition import Refused
from assets.plant import Plant, load
from assets.stream import ASSET_STREAM, DEAD_LETTERS, partition_of
from flows._began import Began
from flows._former import in_turn, read_tails, send_former
from flows._patience import patiently
from flows._searched import Searched
from flows._shares import shares
from flows._site import Site
from flows._store import named_store
from flows._writers import is_written_by_another
from operators._tails import Tails, copy_name
from operators.normalize import Normalizer
from sinks._outbox import Outbox
from sinks._spool import Spool
from sinks._spooled import SpooledSink, missing_by_id, open_outbox
from sources import connect
from sources._backlog import Backlog
from sources._devices import now_us
from sources._intake import Devices
from sources._kafka_newest import newest_us
from sources._partition import Stop
from sources.kafka import partition_count

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gateway:
    """One ingest process: its plant and its name; `run` is the instant of its start (us)."""

    name: str
    run: int
    plant: Plant
    partitions: int
    sources: tuple[str, ...]
    tails: Tails = field(default_factory=lambda: Tails(""))
    gone: frozenset[str] = frozenset()
    """The assets that earlier runs told of and the plant no longer has: the first copy tells of their end."""
    since: Mapping[str, int] = field(default_factory=dict)
    """When (us) earlier runs began to read sources; it counts for those that nothing stands on the stream of."""

    @classmethod
    def of(cls, site: Site) -> tuple[Self, Devices, Outbox]:
        """The gateway of this process, its devices, and its way to Kafka; a copy i/N owns its share of the sources.

        The plant is checked before all else, and the devices are read before Kafka is asked for anything. A run is
        newer than those before it, whatever the clock says. The devices' `go_on` is for whoever has built the flow.
        """
        plant = load(site.plant)
        i, n = map(int, site.copy.split("/"))
        name = copy_name(site.gateway, i, n)
        copies = shares(site.data / "spool", site.gateway, plant.sources, n)
        sources = tuple(source for source, copy in copies.items() if copy == i)
        if plant.sources and not sources:
            raise Refused(
                f"could not start copy {site.copy} of ingest: the plant has {len(plant.sources)} sources, so "
                "none is left for this copy; start fewer copies"
            )
        spool = Spool(site.data / "spool" / name, site.spool_bytes)
        devices, began, known = _devices(plant, sources, site.stop), now_us(), Began(spool.folder.parent, site.gateway)
        since = known.note(sources, began)
        devices.begin(Backlog(spool.folder, site.spool_bytes))
        try:
            partitions, tails = patiently(
                site.stop, lambda: _asked(site, n, lambda found: _read_tails(site, plant, sources, spool, found))
            )
            first = i == min(copies.values(), default=0)
            gone = patiently(site.stop, lambda: _gone(site, name, tails.assets - set(plant.assets) if first else set()))
            letters = missing_by_id(spool, site.kafka, DEAD_LETTERS, site.stop)
            outbox = open_outbox(spool, site.kafka, site.stop, {ASSET_STREAM: tails.missing, DEAD_LETTERS: letters})
        except BaseException:
            devices.end()
            raise
        known.forget(filter(tails.heard, sources), plant.sources)
        for asset in plant.assets.values():
            tails.values.define(asset.id, asset.definition)
        return cls(name, max(began, tails.run + 1), plant, partitions, sources, tails, gone, since), devices, outbox

    @property
    def normalizers(self) -> dict[str, Callable[[], Normalizer]]:
        """A maker of the normalizer of each source."""
        return {name: partial(self._normalizer, name) for name in self.sources}

    def _normalizer(self, source: str) -> Normalizer:
        skew = self.plant.sources[source].max_skew
        normalizer = Normalizer(source, self.plant.bindings(source), max_skew_us=skew, run=self.run)
        homes = {partition_of(asset, self.partitions) for asset in self._assets_of(source)}
        values, mark = self.tails.values, self.tails.mark(source, homes)
        normalizer.seed(values.values, self.since.get(source) if mark is None else mark, values.stale)
        return normalizer

    @property
    def assets_of(self) -> dict[str, set[str]]:
        """The assets that each source tells of."""
        return {source: self._assets_of(source) for source in self.sources}

    def _assets_of(self, source: str) -> set[str]:
        return {binding.asset for bound in self.plant.bindings(source).values() for binding in bound}


def _asked(site: Site, copies: int, tails: Callable[[int], Tails]) -> tuple[int, Tails]:
    """How many partitions the stream has and what stands there of earlier runs; asked by one copy at a time."""
    with in_turn(site):
        site.create_topics()
        partitions = site.partitions()
        send_former(site, copies, partitions)
        return partitions, tails(partitions)


def _gone(site: Site, name: str, assets: Collection[str]) -> frozenset[str]:
    """The assets to remove; none, while another process writes under this name: they may be those of its plant."""
    if not assets or not is_written_by_another(site, name):
        return frozenset(assets)
    log.error(
        'another process writes as gateway "%s": %d assets that this plant does not have, such as "%s", may be its '
        "own and are not removed; give each ingest process a name of its own (PENSTOCK_GATEWAY), or end one of them",
        name,
        len(assets),
        min(assets),
    )
    return frozenset()


def _devices(plant: Plant, names: tuple[str, ...], stop: Stop) -> Devices:
    sources = {name: connect(name, plant.sources[name], plant.addresses(name)) for name in names}
    store = named_store()
    return Devices(sources, stop, known=store.parts("ingest.devices") if store else ())


def _read_tails(site: Site, plant: Plant, sources: Collection[str], spool: Spool, partitions: int) -> Tails:
    """The tails of this copy's sources, searched for no further back than any copy has searched before."""
    newest = newest_us(site.kafka, ASSET_STREAM, partitions)
    searched = Searched(site.data / "spool" / f"{site.gateway}.sources.json", plant.sources, newest)
    near, since, tails = partial(_enough, sources), searched.since(sources), Tails(site.gateway)
    return read_tails(site.kafka, tails, spool, partitions, near, stop=site.stop, searched=searched, since=since)


def _enough(sources: Collection[str], tails: Tails) -> bool:
    """Whether something was said of all these sources, by whichever copy."""
    return all(map(tails.heard, sources))


def frames_sink(outbox: Outbox, gateway: Gateway) -> SpooledSink:
    """Where ingest writes frames and ticks."""
    return SpooledSink(outbox, ASSET_STREAM, gateway.partitions)


def letters_sink(outbox: Outbox, site: Site) -> SpooledSink:
    """Where ingest puts what it could not use."""
    return SpooledSink(outbox, DEAD_LETTERS, partition_count(site.kafka, DEAD_LETTERS))
