"""Which generations of a view there are, and how much of the stream each of them holds.

Topic `views` (compacted) has the pointer of each view under the view's name, and one record per rebuilt generation
under `VIEW.gN`: what it was made of, written when it was complete. So a generation without a record, and not live, is
the rest of an interrupted rebuild. How far a live view has come is what it has noted in its consumer group.
"""

import asyncio
import shutil
from collections.abc import Mapping
from typing import Final

import msgspec

from assets.condition import Refused
from assets.frame import decode_event
from assets.stream import ASSET_STREAM, VIEWS, state_topic
from flows._site import Site, View, progress_group
from sinks.kafka import delete_topic, put_table
from sinks.nats import delete_stream
from sources.kafka import committed, read_range, read_table, watermarks

Offsets = dict[int, int]
Ranges = dict[int, tuple[int, int]]

VIEW_NAMES: Final[tuple[View, ...]] = ("derive", "serve", "archive")


class Generation(msgspec.Struct):
    """A complete rebuilt generation: `inputs` has, per topic and partition, the offsets it was made of (half-open).

    `partial`: it lacks what came before, so no flow goes on with it (`Site.generation` refuses it).
    """

    view: View
    generation: int
    inputs: dict[str, Ranges]
    records: int
    seconds: float
    partial: bool = False


class Generations:
    """The generations of one view."""

    def __init__(self, site: Site, view: View) -> None:
        self._site = site
        self.view = view
        self.live = site.pointer(view)
        self._rebuilt = self._read()

    def newest(self) -> int:
        """The newest complete generation that is not live."""
        others = [number for number in self._rebuilt if number != self.live]
        if not others:
            raise Refused(
                f'could not find a rebuilt generation of view "{self.view}": there is only generation {self.live}, '
                f"which is live; make one with: python -m replay rebuild {self.view}"
            )
        return max(others)

    def finished(self, generation: int, topic: str) -> Offsets:
        """Per partition the offset up to which a generation holds what a topic says."""
        made = self._rebuilt.get(generation)
        ends = {} if made is None else {p: end for p, (_, end) in made.inputs.get(topic, {}).items()}
        if generation != self.live:
            self.check(generation)
            return ends
        noted = committed(self._site.kafka, progress_group(self.view, generation), topic)
        return {p: max(ends.get(p, 0), noted.get(p, 0)) for p in {*ends, *noted}}

    def begins(self, generation: int, topic: str) -> Offsets:
        """Per partition the offset from which a rebuilt generation was made; nothing for one never rebuilt."""
        made = self._rebuilt.get(generation)
        ranges = {} if made is None else made.inputs.get(topic, {})
        return {p: first for p, (first, _) in ranges.items()}

    def check_whole(self, generation: int) -> None:
        """Refuse a generation whose every row depends on what came before it, when it was not made of that."""
        made = self._rebuilt.get(generation)
        if made is not None and made.partial:
            raise Refused(
                f'could not use generation {generation} of view "{self.view}": it is partial, for it was rebuilt from '
                f"the middle of the stream and its state lacks what came before; make a whole one with: python -m "
                f"replay rebuild {self.view} --generation {generation}"
            )

    def derived(self, generation: int) -> int:
        """The generation of derived state that a generation of this view reads."""
        made = self._rebuilt.get(generation)
        topics = {} if made is None or generation == self.live else made.inputs
        names = [int(topic.rpartition("g")[2]) for topic in topics if topic != ASSET_STREAM]
        return names[0] if names else self._site.generation("derive")

    def check_beside(self, generation: int) -> None:
        """Refuse to write into the live generation."""
        if generation == self.live:
            raise Refused(
                f'could not rebuild view "{self.view}" into generation {generation}: it is live; '
                f"choose another one, for instance --generation {self.live + 1}"
            )

    def forget(self, generation: int) -> None:
        """Delete what an earlier rebuild left of a generation that is not live."""
        self.check_beside(generation)
        put_table(self._site.kafka, VIEWS, self._key(generation), None)
        self._rebuilt.pop(generation, None)
        _REMOVE[self.view](self._site, generation)

    def complete(self, made: Generation) -> None:
        """Note that a generation is complete."""
        put_table(self._site.kafka, VIEWS, self._key(made.generation), msgspec.json.encode(made))
        self._rebuilt[made.generation] = made

    def check(self, generation: int) -> None:
        """Refuse a generation that is neither live nor complete."""
        if generation != self.live and generation not in self._rebuilt:
            raise Refused(
                f'could not use generation {generation} of view "{self.view}": it does not exist or its rebuild was '
                f"not completed; make it with: python -m replay rebuild {self.view} --generation {generation}"
            )

    def _read(self) -> dict[int, Generation]:
        prefix = f"{self.view}.g".encode()
        found = [v for key, v in read_table(self._site.kafka, VIEWS).items() if key.startswith(prefix)]
        return {made.generation: made for made in (msgspec.json.decode(v, type=Generation) for v in found)}

    def _key(self, generation: int) -> bytes:
        return f"{self.view}.g{generation}".encode()


def both_finished(one: Mapping[int, int], other: Mapping[int, int]) -> Offsets:
    """Per partition how far both have come.

    >>> both_finished({0: 7, 1: 9}, {0: 8})
    {0: 7}
    """
    return {p: min(end, other[p]) for p, end in sorted(one.items()) if p in other}


def basis_bounds(site: Site, derived: int, offsets: Mapping[int, int]) -> Offsets:
    """Per partition the offset of `asset-stream` up to which the first `offsets` of derived state tell all.

    The first event that is not among them says by its basis how far that is; without one it is what `derive` has
    finished, which is asked before the end of its topic is.
    """
    noted = Generations(site, "derive").finished(derived, ASSET_STREAM)
    topic = state_topic(derived)
    bounds: Offsets = {}
    for partition, (_, high) in watermarks(site.kafka, topic).items():
        offset = offsets.get(partition, 0)
        bounds[partition] = _basis(site, topic, partition, offset) if offset < high else noted.get(partition, 0)
    return bounds


def _basis(site: Site, topic: str, partition: int, offset: int) -> int:
    for batch in read_range(site.kafka, topic, {partition: (offset, offset + 1)}):
        for value in batch.values:
            if value is not None:
                return decode_event(value).basis[1]
    return 0


def _remove_topic(site: Site, generation: int) -> None:
    delete_topic(site.kafka, state_topic(generation))


def _remove_folder(site: Site, generation: int) -> None:
    folder = site.archive_folder(generation)
    if folder.exists():
        shutil.rmtree(folder)


def _remove_stream(site: Site, generation: int) -> None:
    asyncio.run(delete_stream(site.nats, live_stream(generation)))


def live_stream(generation: int, live: int | None = None) -> str:
    """The NATS stream of a generation of `serve`; the live one's has no number."""
    return "penstock" if generation == live else f"penstock-g{generation}"


def live_prefix(generation: int, live: int) -> str:
    """What the subjects of a generation of `serve` begin with."""
    return "" if generation == live else f"rebuild.g{generation}."


_REMOVE: Final = {"derive": _remove_topic, "serve": _remove_stream, "archive": _remove_folder}
