"""Which sources are alive, by stream time alone: a source that no tick names for its ttl counts as lost.

The clock of a partition is the progress of its gateways, not their wall clocks: each gateway is aligned when first
seen, so gateways whose clocks are hours apart do not harm each other's assets, and when all gateways are silent no
time passes. A source's age is the partition's clock now minus the partition's clock where it was last named.
"""

from collections.abc import Callable, Container, Iterable, Iterator

import msgspec

from assets.frame import Tick
from assets.source import MIN_TTL_US
from operators._progress import MAX_SILENCE_US, Progress


class LinkState(msgspec.Struct):
    """One source: when it was last named (partition clock), its last mark (gateway clock), and whom it serves.

    `assets` holds what the stream says of each asset's link (`_availability`).
    """

    ttl: int = MIN_TTL_US
    seen: int = 0
    mark: int = 0
    silent: bool = False
    assets: dict[str, bool] = {}


class LinkChange(msgspec.Struct):
    """The link between an asset and a source changed at `at` (us, the gateway's clock)."""

    asset: str
    source: str
    available: bool
    at: int


class Links(Progress, dict=True):
    """All links of one partition; plain state, kept in the operator's snapshot.

    `used` says which sources the definitions in force name; it is no state.
    """

    sources: dict[str, LinkState] = {}

    def __post_init__(self) -> None:
        self.used: Callable[[], Container[str]] = tuple

    def source(self, name: str) -> LinkState:
        """The state of a source; one never seen counts from now."""
        state = self.sources.get(name)
        if state is None:
            self._forget_unused()
            state = self.sources[name] = LinkState(seen=self.clock)
        return state

    def said(self, asset: str, source: str, available: bool, at: int) -> Iterator[LinkChange]:
        """The stream says `_availability` of an asset."""
        state = self.source(source)
        before = state.assets.get(asset)
        state.assets[asset] = available
        if available and not state.mark:  # its first proof of life, as one that was silent gives it
            state.seen, state.mark = self.clock, at
        if available and state.silent:
            yield from self._prove(source, at)
        elif before is None or (before and not state.silent) != available:
            yield LinkChange(asset, source, available, at)

    def forget(self, asset: str) -> None:
        """The asset is gone; its sources stay as long as ticks name them."""
        for state in self.sources.values():
            state.assets.pop(asset, None)

    def leave(self, asset: str, sources: Iterable[str]) -> None:
        """The asset is no longer read from these sources; what they say of it later is news."""
        for name in sources:
            if (state := self.sources.get(name)) is not None:
                state.assets.pop(asset, None)

    def _forget_unused(self) -> None:
        """Forget sources that serve nobody and were not named for long: names come and go for ever.

        That changes nothing that is said later. It is done whenever a power of two of names is known: their number
        stays below twice that of the ones in use, and a thousand new ones at once cost no thousand searches.
        """
        known = len(self.sources)
        if known & (known - 1):
            return
        unused = [name for name, s in self.sources.items() if not s.assets and self.clock - s.seen >= MAX_SILENCE_US]
        used = self.used() if unused else ()
        for name in unused:
            if name not in used:
                del self.sources[name]

    def tick(self, tick: Tick) -> Iterator[LinkChange]:
        """Move the clock, then say which links came back or fell silent."""
        self.advance(tick)
        for name, account in tick.sources.items():
            if account.mark is not None:
                yield from self._prove(name, account.mark)
        yield from self._age()

    def _prove(self, name: str, mark: int) -> Iterator[LinkChange]:
        state = self.source(name)
        state.seen, state.mark = self.clock, max(state.mark, mark)
        if state.silent:
            state.silent = False
            for asset, available in sorted(state.assets.items()):
                if available:
                    yield LinkChange(asset, name, True, mark)

    def _age(self) -> Iterator[LinkChange]:
        for name, state in sorted(self.sources.items()):
            if not state.silent and self.clock - state.seen >= state.ttl:
                state.silent = True
                for asset, available in sorted(state.assets.items()):
                    if available:
                        yield LinkChange(asset, name, False, state.mark + state.ttl)
