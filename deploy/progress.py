"""How far everything is: what stands in Kafka, how much of it each view has finished, and what the sources took in.

Asked from Kafka itself, so it holds whoever runs the flows.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self, get_args

from assets.condition import Refused, Unavailable
from assets.connection import KafkaConnection
from assets.frame import ContractError, SourceAccount, decode_tick
from assets.stream import ASSET_STREAM, VIEWS, state_topic
from flows._site import View, live_generation, progress_group
from sources.kafka import committed, read_range, read_table, watermarks

VIEWS_READ: Final[tuple[View, ...]] = get_args(View)
ASK_EVERY_S: Final = 1.0
RATE_OVER_S: Final = 10.0
STOP_TIMEOUT_S: Final = 15.0


@dataclass(frozen=True)
class Progress:
    """A moment's account: lag in records per view, records and observations per second, the newest account per source.

    `silent_s` is how long nothing new has come onto the stream.
    """

    lag: Mapping[View, int] = field(default_factory=dict)
    records_per_s: float = 0.0
    observations_per_s: float = 0.0
    derived_per_s: float = 0.0
    sources: Mapping[str, SourceAccount] = field(default_factory=dict)
    silent_s: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Live:
    """The generation of each view that is live, and by that what each view reads."""

    generations: Mapping[View, int]

    @classmethod
    def of(cls, kafka: KafkaConnection) -> Self:
        """As topic `views` has it now."""
        table = read_table(kafka, VIEWS)
        return cls({view: live_generation(table, view) for view in VIEWS_READ})

    @property
    def derived(self) -> str:
        """The topic of derived events."""
        return state_topic(self.generations["derive"])

    def inputs(self, view: View) -> tuple[str, ...]:
        """The topics that a view reads."""
        return (ASSET_STREAM,) if view == "derive" else (ASSET_STREAM, self.derived)


def lag_of(kafka: KafkaConnection, view: View, live: Live, ends: Mapping[str, Mapping[int, tuple[int, int]]]) -> int:
    """How many records of its inputs a view has not finished; `ends` has the watermarks per topic and partition."""
    behind = 0
    for topic in live.inputs(view):
        noted = committed(kafka, progress_group(view, live.generations[view]), topic)
        behind += sum(max(0, high - max(low, noted.get(p, 0))) for p, (low, high) in ends[topic].items())
    return behind


def ends_of(kafka: KafkaConnection, live: Live) -> dict[str, dict[int, tuple[int, int]]]:
    """The watermarks of the topics that views read."""
    return {topic: watermarks(kafka, topic) for topic in (ASSET_STREAM, live.derived)}


@dataclass(frozen=True)
class _Counts:
    """Totals at an instant of our own clock, of which rates are made."""

    at: float
    records: int
    observed: int
    derived: int


class ProgressWatch:
    """Asks Kafka every second, in a thread; `now` is the newest answer. `with ProgressWatch(connection) as watch:`."""

    def __init__(self, kafka: KafkaConnection) -> None:
        self.now = Progress()
        self._kafka = kafka
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._read: dict[int, int] = {}
        self._counts: deque[_Counts] = deque()
        self._accounts: dict[str, tuple[int, SourceAccount]] = {}
        self._observed = 0
        self._moved_at = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.now = self._ask()
            except (Refused, Unavailable) as problem:
                self.now = replace(self.now, problem=str(problem))
            self._stop.wait(ASK_EVERY_S)

    def _ask(self) -> Progress:
        live = Live.of(self._kafka)
        ends = ends_of(self._kafka, live)
        self._read_ticks({p: high for p, (_, high) in ends[ASSET_STREAM].items()})
        rates = self._rates(ends, live.derived)
        lag = {view: lag_of(self._kafka, view, live, ends) for view in VIEWS_READ}
        sources = {name: account for name, (_, account) in sorted(self._accounts.items())}
        return Progress(lag, *rates, sources, time.monotonic() - self._moved_at)

    def _read_ticks(self, ends: Mapping[int, int]) -> None:
        """Take the newest account of each source from what is new; the first time, nothing is new."""
        new = {p: (self._read[p], end) for p, end in ends.items() if self._read.get(p, end) < end}
        self._read = dict(ends)
        if not new:
            return
        self._moved_at = time.monotonic()
        for batch in read_range(self._kafka, ASSET_STREAM, new):
            for key, value in zip(batch.keys, batch.values, strict=True):
                if key is None and value is not None:
                    self._tick(value)

    def _tick(self, record: bytes) -> None:
        """Take over what is newer than known (the same account stands in several partitions, which interleave)."""
        try:
            tick = decode_tick(record)
        except ContractError:
            return  # the flows put it into the dead letters
        for source, account in tick.sources.items():
            run, known = self._accounts.get(source, (tick.run, account))
            if tick.run > run:
                self._observed += account.published
            elif tick.run == run and account.received >= known.received:
                self._observed += account.published - known.published
            else:
                continue
            self._accounts[source] = tick.run, account

    def _rates(self, ends: Mapping[str, Mapping[int, tuple[int, int]]], topic: str) -> tuple[float, float, float]:
        """Records, observations and derived events per second over the last seconds."""
        records, derived = (sum(high for _, high in ends[topic].values()) for topic in (ASSET_STREAM, topic))
        counts = self._counts
        counts.append(_Counts(time.monotonic(), records, self._observed, derived))
        while counts[-1].at - counts[0].at > RATE_OVER_S:
            counts.popleft()
        first, last = counts[0], counts[-1]
        seconds = max(last.at - first.at, ASK_EVERY_S)
        gained = last.records - first.records, last.observed - first.observed, last.derived - first.derived
        return gained[0] / seconds, gained[1] / seconds, gained[2] / seconds
