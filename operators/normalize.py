"""Readings become observations: addresses become assets and items, raw values get their meaning, repetitions go.

One `Normalizer` per source. Nothing is lost silently: every pair of a reading and an item bound to its address (and
every reading of an unknown address) is counted once as received, and once as published, suppressed or rejected. What
the gateway itself says (items beginning with `_`, key frames) is not counted.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import bytewax.operators as op
import msgspec
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from assets.batch import Rejected, stream_key
from assets.frame import VERSION, Frame, Observation, SourceAccount
from assets.plant import Binding
from assets.reading import Gap, Link, Mark, Message, Reading, Readings
from assets.stream import AVAILABILITY, AVAILABLE, GAP, UNAVAILABLE
from operators._convert import Refused
from operators._key_frames import KeyFrames
from operators._last_values import Key
from operators._report import Channel

KEY_FRAME_INTERVAL_US: Final = 3_600_000_000
MAX_SKEW_US: Final = 5_000_000
SNAPSHOT: Final = b"normalize 1"
"""Nothing is kept in the recovery store: a device cannot be rewound, and a new run begins with key frames."""
NEVER: Final = -(1 << 63)


class Accounted(msgspec.Struct, gc=False):
    """The account of a source at an instant (us), `handed` on later or (0) at once; what it counts precedes it."""

    source: str
    at: int
    account: SourceAccount
    last: bool = False
    handed: int = 0


Said = Frame | Accounted
"""What the ingest flow hands on before it has a sequence: frames have neither gateway, run, seq nor model yet."""


class Normalizer:
    """The meaning of one source's messages; plain Python, driven by the instants in them."""

    def __init__(
        self,
        source: str,
        bindings: Mapping[str, Sequence[Binding]],
        *,
        max_skew_us: int = MAX_SKEW_US,
        key_frame_us: int = KEY_FRAME_INTERVAL_US,
        run: int = 0,
    ) -> None:
        self._source = source
        self._run = run
        self._max_skew_us = max_skew_us
        self._channels: dict[str, list[Channel]] = {}
        self._assets: dict[str, KeyFrames] = {}
        for address, bound in bindings.items():
            for binding in bound:
                self._bind(address, binding, key_frame_us)
        self._now = 0
        self._previous_mark: int | None = None
        self._received = self._published = 0
        self._suppressed: dict[str, int] = {}
        self._refused: dict[str, int] = {}
        self._out: list[Said] = []
        self._rejected: list[Rejected] = []

    def _bind(self, address: str, binding: Binding, key_frame_us: int) -> None:
        channel = Channel(binding.asset, binding.name, binding.item)
        self._channels.setdefault(address, []).append(channel)
        self._assets.setdefault(binding.asset, KeyFrames(binding.asset, key_frame_us)).channels.append(channel)

    def seed(self, last: Mapping[Key, Observation], mark: int | None = None, stale: Collection[Key] = ()) -> None:
        """Take over what was published last, of another meaning if `stale`; `_gap` from `mark` to the first message."""
        for asset in self._assets.values():
            for channel in asset.channels:
                key = asset.asset, channel.name
                if (observation := last.get(key)) is not None:
                    channel.seed(observation, stale=key in stale)
        self._previous_mark = mark

    def take(self, messages: Iterable[Message]) -> tuple[list[Said], list[Rejected]]:
        """Handle messages in order; returns what they say of assets, and what cannot be used."""
        for message in messages:
            if isinstance(message, Readings):
                self._readings(message)
            elif isinstance(message, Mark):
                self._mark(message)
            elif isinstance(message, Link):
                self._link(message)
            else:
                self._gap(message)
        out, self._out = self._out, []
        rejected, self._rejected = self._rejected, []
        return out, rejected

    def _readings(self, message: Readings) -> None:
        received, clock, skew = message.received, message.clock, self._max_skew_us
        self._moved(received)
        believed = clock is None or abs(clock - received) <= skew
        latest = received + skew if believed else NEVER
        channels, suppressed = self._channels, self._suppressed
        told: dict[str, list[Observation]] = {}
        for reading in message.readings:
            bound = channels.get(reading.address)
            if bound is None:
                self._reject(message, reading, "unknown_item", f'no item has the address "{reading.address}"')
                continue
            for channel in bound:
                try:
                    taken = channel.take(reading, received, latest)
                except Refused as refused:
                    what = f'item "{channel.name}" of asset "{channel.asset}"'
                    self._reject(message, reading, refused.reason, f"{what}: {refused}")
                    continue
                if isinstance(taken, str):
                    suppressed[taken] = suppressed.get(taken, 0) + 1
                elif (observations := told.get(channel.asset)) is not None:
                    observations.append(taken)
                else:
                    told[channel.asset] = [taken]
            self._received += len(bound)
        for asset, observations in told.items():
            self._published += len(observations)
            self._say(asset, received, observations)

    def _reject(self, message: Readings, reading: Reading, reason: str, detail: str) -> None:
        if reason == "unknown_item":
            self._received += 1
        self._refused[reason] = self._refused.get(reason, 0) + 1
        raw = _raw(Readings(message.received, [reading], message.clock))
        origin = f"{self._source}/{reading.address}/{self._run}/{sum(self._refused.values())}"
        self._rejected.append(Rejected(raw, reason, detail, origin, 0, self._source.encode()))

    def _link(self, link: Link) -> None:
        self._moved(link.at)
        for asset in self._assets.values():
            asset.availability = AVAILABLE if link.available else UNAVAILABLE
            self._say(asset.asset, link.at, [Observation(AVAILABILITY, asset.availability)])
            if not link.available:
                for channel in asset.channels:
                    channel.outage = True

    def _gap(self, gap: Gap) -> None:
        """A gap is said when it is known, which may be after its end; if the clock was set back, it has no length."""
        at, end, addresses = max(self._now, gap.end), max(gap.start, gap.end), set(gap.addresses)
        missed = {id(c) for address in addresses for c in self._channels.get(address, ())}
        concerned = [
            (asset.asset, channels)
            for asset in self._assets.values()
            if (channels := [c for c in asset.channels if not addresses or id(c) in missed])
        ]
        for name, channels in concerned:
            for channel in channels:
                channel.outage = True
            own = [a for a in gap.counts or () if any(c.asset == name for c in self._channels.get(a, ()))]
            lost = gap.lost_at(own, alone=len(concerned) == 1)
            items = [channel.name for channel in channels]
            value = {"items": items, "from": gap.start, "to": end, "reason": gap.reason, "lost": lost}
            self._say(name, at, [Observation(GAP, value)])

    def _mark(self, mark: Mark) -> None:
        self._now = mark.at
        for asset in self._assets.values():
            if asset.key_due(mark.at):
                self._say(asset.asset, mark.at, asset.key())
        account = SourceAccount(
            mark.at if mark.proved else None,
            self._received,
            self._published,
            dict(self._suppressed),
            dict(self._refused),
            mark.lost,
            mark.untold_since,
        )
        self._out.append(Accounted(self._source, mark.at, account, mark.last, mark.handed))

    def _moved(self, at: int) -> None:
        """The first sign of the device in this run ends the gap that the end of the last run began."""
        self._now = at
        if self._previous_mark is not None:
            start, self._previous_mark = self._previous_mark, None
            clock = ", and its clock was set back" if start > at else ""
            self._gap(Gap([], start, at, f"the gateway was not running{clock}"))

    def _say(self, asset: str, received: int, observations: list[Observation]) -> None:
        self._out.append(Frame(VERSION, asset, self._source, "", 0, 0, received, "", observations))


def _raw(readings: Readings) -> bytes:
    """The reading as JSON, with all it takes to normalize it again; else as close to it as can be written."""
    try:
        return msgspec.json.encode(readings)
    except (ValueError, TypeError, OverflowError, RecursionError):  # what JSON cannot hold is the reason of some
        return _ascii(readings)


def _ascii(readings: Any) -> bytes:
    try:
        return ascii(readings).encode()
    except (ValueError, RecursionError):  # an integer of thousands of digits, for instance
        return b""


class _Step(StatefulBatchLogic[tuple[str, list[Message]], tuple[list[Said], list[Rejected]], bytes]):
    """The engine's side: one source; a batch bears its name because the engine does not tell a step its key."""

    def __init__(self, normalizers: Mapping[str, Callable[[], Normalizer]]) -> None:
        self._normalizers = normalizers
        self._normalizer: Normalizer | None = None

    def on_batch(
        self, values: list[tuple[str, list[Message]]]
    ) -> tuple[Iterable[tuple[list[Said], list[Rejected]]], bool]:
        if self._normalizer is None:
            self._normalizer = self._normalizers[values[0][0]]()
        return [self._normalizer.take(messages) for _, messages in values], StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        return SNAPSHOT


@dataclass(frozen=True)
class Normalized:
    """Frames and accounts, keyed by source; and what could not be used, keyed for the dead letters."""

    oks: KeyedStream[list[Said]]
    errs: KeyedStream[list[Rejected]]


@operator
def normalize(
    step_id: str,
    up: KeyedStream[list[Message]],
    normalizers: Mapping[str, Callable[[], Normalizer]],
) -> Normalized:
    """Normalize the messages of sources; the key is the source's name, `normalizers` has a maker for each."""
    named = op.map("named", up, lambda keyed: (keyed[0], keyed))
    both = op.stateful_batch("sources", named, lambda _saved: _Step(normalizers))
    oks = op.filter_map_value("oks", both, lambda pair: pair[0] or None)
    errs = op.filter_map_value("errs", both, lambda pair: pair[1] or None)
    return Normalized(oks, op.map("dead-letters", errs, lambda keyed: (stream_key(0), keyed[1])))
