"""Whether two processes write as one gateway: asked of the newest ticks of one partition, because they stand in each.

Two processes on one machine are kept apart by their spool. Those on two machines share nothing but the stream, and at
its start one cannot tell from it whether the other has just ended. So nobody is refused, and both go on reading their
devices; but each says it, and so do `status` and `audit`.
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Final

from assets.connection import KafkaConnection
from assets.stream import ASSET_STREAM
from flows._site import Site
from operators._writers import Interleaving, Writers, ticks_of
from sources._kafka_newest import newest_us
from sources.kafka import offsets_at, read_range, watermarks

log = logging.getLogger(__name__)

LOOK_BACK_US: Final = 10_000_000
"""How much of the stream is looked at: some ticks of each gateway."""
FIRST_LOOK_S: Final = 10.0
LOOK_EVERY_S: Final = 60.0
LISTEN_S: Final = 3.0
POLL_S: Final = 0.05


def interleaving(connection: KafkaConnection, partitions: int) -> list[Interleaving]:
    """The names under which two processes have written in the last seconds of the stream; raises `Unavailable`."""
    begin = newest_us(connection, ASSET_STREAM, partitions) - LOOK_BACK_US
    starts = offsets_at(connection, ASSET_STREAM, max(0, begin))
    writers = Writers()
    for batch in read_range(connection, ASSET_STREAM, _least(connection, starts)):
        writers.read(batch)
    return writers.found


def _least(connection: KafkaConnection, starts: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """Of the partitions that have records since these offsets, the one with the fewest."""
    marks = watermarks(connection, ASSET_STREAM)
    ranges = {p: (max(low, starts[p]), high) for p, (low, high) in marks.items() if high > max(low, starts[p])}
    least = min(ranges, key=lambda p: ranges[p][1] - ranges[p][0], default=None)
    return {} if least is None else {least: ranges[least]}


def is_written_by_another(site: Site, name: str) -> bool:
    """Whether somebody ticks under a name that this process has not written under yet; takes some seconds."""
    ends = {partition: high for partition, (_, high) in watermarks(site.kafka, ASSET_STREAM).items()}
    until = time.monotonic() + LISTEN_S
    while time.monotonic() < until and not site.stop.requested:
        time.sleep(POLL_S)
    heard = read_range(site.kafka, ASSET_STREAM, _least(site.kafka, ends), site.stop)
    return any(tick.gateway == name for batch in heard for tick in ticks_of(batch))


def watch(site: Site, name: str, partitions: int) -> None:
    """Look from now on, now and then, whether another process writes under this name, and say so."""
    threading.Thread(target=_watch, args=(site, name, partitions), name="writers", daemon=True).start()


def _watch(site: Site, name: str, partitions: int) -> None:
    told: Interleaving | None = None
    time.sleep(FIRST_LOOK_S)
    while not site.stop.requested:
        try:
            own = [found for found in interleaving(site.kafka, partitions) if found.gateway == name]
        except Exception:  # Kafka is away, mostly, and others say so; a look that fails must not end the next ones
            log.debug("could not look who else writes", exc_info=True)
            own = [told] if told else []
        if own and told is None:
            log.error("%s", own[0])
        elif told and not own:
            log.info('no other process writes as gateway "%s" any more', name)
        told = own[0] if own else None
        time.sleep(LOOK_EVERY_S)
