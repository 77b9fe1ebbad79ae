"""Whether the stream is alive and how far each view has come: what a readiness probe asks.

When every gateway is dead no time passes on the stream and nothing is derived; that can only be seen from outside, by
how long Kafka has taken in nothing (its own clock, LogAppendTime, against ours).
"""

from collections.abc import Mapping
from time import time

import msgspec

from assets.stream import ASSET_STREAM, state_topic
from flows._site import Site, View, progress_group
from flows._writers import interleaving
from operators._writers import Interleaving
from replay._generations import VIEW_NAMES
from sources._kafka_newest import newest_us
from sources.kafka import committed, watermarks


class ViewStatus(msgspec.Struct):
    """The live generation of a view, and how many records of its inputs it has not finished."""

    generation: int
    behind: int


class Status(msgspec.Struct):
    """The records of `asset-stream`, for how long (s) none came (None: there is none at all), and the views.

    `writers` are gateways' names under which two processes write.
    """

    records: int
    silent_s: float | None
    views: dict[str, ViewStatus]
    writers: list[Interleaving] = []

    def faults(self, most_silent_s: float, most_behind: int | None = None) -> list[str]:
        """What is not well, by the limits given: how long the stream may be silent, how far a view may be behind."""
        return [*self._silence(most_silent_s), *map(str, self.writers), *self._lag(most_behind)]

    def _silence(self, most_s: float) -> list[str]:
        if self.silent_s is None:
            return ["the stream has no record: no gateway has ever written to it; start ingest"]
        if self.silent_s <= most_s:
            return []
        silent = f"the stream has been silent for {self.silent_s:.0f} s (limit {most_s:g} s)"
        why = "no gateway reaches Kafka; until one does nothing is derived and all values are as old as that"
        return [f"{silent}: {why}; look at ingest"]

    def _lag(self, most: int | None) -> list[str]:
        return [
            f"{name} is {view.behind:,} records behind (limit {most:,}): look at its log"
            for name, view in self.views.items()
            if most is not None and view.behind > most
        ]


def status(site: Site) -> Status:
    """How the stream and the views are now; raises `Refused` or `Unavailable`."""
    ends = watermarks(site.kafka, ASSET_STREAM)
    newest = newest_us(site.kafka, ASSET_STREAM, len(ends))
    derived = site.pointer("derive")
    return Status(
        sum(high - low for low, high in ends.values()),
        max(0.0, time() - newest / 1e6) if newest else None,
        {view: _view(site, view, derived, ends) for view in VIEW_NAMES},
        interleaving(site.kafka, len(ends)),
    )


def _view(site: Site, view: View, derived: int, ends: Mapping[int, tuple[int, int]]) -> ViewStatus:
    generation = site.pointer(view)
    inputs = {ASSET_STREAM: ends}
    if view != "derive":
        inputs[state_topic(derived)] = watermarks(site.kafka, state_topic(derived))
    behind = sum(_behind(site, view, generation, topic, marks) for topic, marks in inputs.items())
    return ViewStatus(generation, behind)


def _behind(site: Site, view: View, generation: int, topic: str, marks: Mapping[int, tuple[int, int]]) -> int:
    noted = committed(site.kafka, progress_group(view, generation), topic)
    return sum(max(0, high - max(low, noted.get(p, 0))) for p, (low, high) in marks.items())
