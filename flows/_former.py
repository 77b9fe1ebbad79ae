"""What the earlier runs of a gateway left: what they spooled is sent to Kafka, then their tails are read.

The copies of a gateway that start together do this one after the other. So each of them sees on the stream whatever
those before it wrote, however many copies they were.
"""

import fcntl
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from time import monotonic
from typing import Final

from assets.condition import Unavailable
from assets.connection import KafkaConnection
from assets.duration import format_duration
from assets.stream import ASSET_STREAM, DEAD_LETTERS
from flows._searched import Searched
from flows._site import Site
from operators._tails import Tails, copy_name, named_as
from operators.normalize import KEY_FRAME_INTERVAL_US
from sinks._spool import Spool
from sinks._spooled import missing_by_id, open_outbox
from sources._kafka_newest import newest_us
from sources._partition import Stop
from sources.kafka import offsets_at, read_range, watermarks

log = logging.getLogger(__name__)

LOOK_BACK_US: Final = KEY_FRAME_INTERVAL_US + 60_000_000
"""How far before its end the tail begins: every asset has had a key frame since; a minute more for late ones."""
FIRST_SPAN_US: Final = 60_000_000
"""How far back a gateway that remembers nothing looks for its end at first; each further look is twice as far."""
TURN_POLL_S: Final = 0.05

Enough = Callable[[Tails], bool]


@contextmanager
def in_turn(site: Site) -> Iterator[None]:
    """One copy of the gateway at a time; waits for the others."""
    folder = site.data / "spool"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{site.gateway}.lock").open("w") as lock:
        while not _locked(lock.fileno()):
            if site.stop.requested:
                raise Unavailable(f'gateway "{site.gateway}" was stopped before another copy of it had started')
            time.sleep(TURN_POLL_S)
        yield


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def send_former(site: Site, copies: int, partitions: int) -> None:
    """Send what another number of copies spooled and Kafka does not have; then their spools are no more needed.

    A copy of another number that still runs is refused.
    """
    own = {copy_name(site.gateway, i, copies) for i in range(copies)}
    for folder in sorted((site.data / "spool").iterdir()):
        if folder.name in own or not named_as(site.gateway, folder.name) or not folder.is_dir():
            continue
        spool = Spool(folder, site.spool_bytes)
        with closing(spool):  # also if Kafka goes away: it is asked again
            if any(True for _ in spool.pending()):
                log.warning('another number of copies left records in spool "%s"; sending them first', folder)
                tails = read_tails(site.kafka, Tails(site.gateway), spool, partitions, stop=site.stop)
                letters = missing_by_id(spool, site.kafka, DEAD_LETTERS, site.stop)
                missing = {ASSET_STREAM: tails.missing, DEAD_LETTERS: letters}
                open_outbox(spool, site.kafka, site.stop, missing).finish()
            shutil.rmtree(folder)  # what it knows of Kafka would grow old


def read_tails(
    connection: KafkaConnection,
    tails: Tails,
    spool: Spool,
    partitions: int,
    enough: Enough = lambda tails: bool(tails.names),
    *,
    stop: Stop | None = None,
    searched: Searched | None = None,
    since: int = 0,
) -> Tails:
    """What the earlier runs of a gateway wrote last: on the stream, and behind it in the spool.

    `enough` says of what was found whether it need not be searched for further back, which goes to `since` at most
    and is noted in `searched`.
    """
    asked_at = monotonic()
    search = partial(_search, connection, tails.gateway, partitions, enough, since, stop, searched)
    known = spool.checkpoint.at
    bounds = _tail_bounds(connection, known or search(), spool)
    tails = _read(connection, tails, bounds, stop)
    if known and not enough(tails) and (at := search()) < known:
        bounds = _tail_bounds(connection, at, spool)
        tails = _read(connection, Tails(tails.gateway), bounds, stop)
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


def _search(
    connection: KafkaConnection,
    gateway: str,
    partitions: int,
    enough: Enough,
    since: int,
    stop: Stop | None,
    searched: Searched | None,
) -> int:
    found = Tails(gateway)
    at, reached = last_heard(connection, found, partitions, enough, since=since, stop=stop)
    if searched is not None:
        searched.note(found, reached)
    return at


def _read(connection: KafkaConnection, tails: Tails, bounds: dict[int, tuple[int, int]], stop: Stop | None) -> Tails:
    for batch in read_range(connection, ASSET_STREAM, bounds, stop):
        tails.read(batch)
    return tails


def _tail_bounds(connection: KafkaConnection, at: int, spool: Spool) -> dict[int, tuple[int, int]]:
    """From where on a gateway's last values stand on the stream, and what of its spool may stand there already."""
    known = spool.checkpoint
    if not known.at and spool.oldest_at:
        at = min(at, spool.oldest_at)
    begin = offsets_at(connection, ASSET_STREAM, max(0, at - LOOK_BACK_US))
    bounds = {}
    for partition, (low, high) in watermarks(connection, ASSET_STREAM).items():
        _, noted = known.parts.get(f"{ASSET_STREAM}/{partition}", (0, high))
        bounds[partition] = max(low, min(begin[partition], noted)), high
    return bounds


def last_heard(
    connection: KafkaConnection,
    found: Tails,
    partitions: int,
    enough: Enough,
    *,
    since: int = 0,
    stop: Stop | None = None,
) -> tuple[int, int]:
    """An instant (us, Kafka's clock) after which the stream holds enough of a gateway: searched for backwards.

    Each look is twice as far as the one before, and only `found` is kept. At `since` or the beginning of the stream
    what was found is enough; if that is nothing, the instant is the stream's end. The second instant says how far the
    search went, 0 for the whole stream.
    """
    newest = at = newest_us(connection, ASSET_STREAM, partitions)
    ends = {partition: high for partition, (_, high) in watermarks(connection, ASSET_STREAM).items()}
    span, known = FIRST_SPAN_US, 0
    while True:
        look = max(newest - span, since)
        lows = {partition: low for partition, (low, _) in watermarks(connection, ASSET_STREAM).items()}
        begins = offsets_at(connection, ASSET_STREAM, max(0, look))
        ranges = {p: (max(lows[p], min(begins[p], end)), max(lows[p], end)) for p, end in ends.items()}
        for batch in read_range(connection, ASSET_STREAM, ranges, stop):
            found.read(batch)
        if known < (known := found.extent):
            at = look
        ends = {partition: begin for partition, (begin, _) in ranges.items()}
        if ends == lows:
            return at, 0
        if enough(found) or look <= since:
            return at, look
        if span < LOOK_BACK_US <= 2 * span:
            log.warning('found too little of gateway "%s" in %s; looking back further', found.gateway, _hours(span))
        span *= 2


def _hours(span_us: int) -> str:
    return f"the last {format_duration(span_us)} of the stream"
