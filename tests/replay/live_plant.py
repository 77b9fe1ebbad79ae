"""A running stack with a stream and live views, made by the real flows as child processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import time_ns

from assets.stream import ASSET_STREAM, state_topic
from deploy.processes import Flow
from deploy.wait import until
from flows._site import Site, View, progress_group
from sources.kafka import committed, watermarks

FLOWS: tuple[View, ...] = ("derive", "serve", "archive")
TIMEOUT_S = 60


def now_us() -> int:
    """A millisecond that Kafka has not given to any record yet."""
    begin = time_ns() // 1_000_000
    until(lambda: time_ns() // 1_000_000 > begin, TIMEOUT_S, "the next millisecond")
    return (begin + 1) * 1_000


@dataclass(frozen=True)
class Plant:
    """A running stack with a stream and live views, and how to reach it."""

    site: Site
    environment: Mapping[str, str]
    folder: Path
    written_at: list[int] = field(default_factory=list)
    """When each run was written, by Kafka's clock."""

    def run(self, *flows: View) -> None:
        """Run flows as they run in production until they have finished the stream, then stop them cleanly."""
        children = [self._start(flow) for flow in flows]
        try:
            for child, flow in zip(children, flows, strict=True):
                until(partial(self._ended, child, flow), TIMEOUT_S, f"flow {flow}")
        finally:
            for child in children:
                assert child.stop() == 0, child.crash_report()

    def _start(self, flow: View) -> Flow:
        return Flow(flow, self.environment, self.folder / f"{flow}.log", self.folder / "recovery" / flow).start()

    def _ended(self, child: Flow, flow: View) -> bool:
        return child.poll() is not None or self.finished(flow)

    def finished(self, flow: View) -> bool:
        """Whether a flow has noted the end of all it reads as its progress."""
        topics = [ASSET_STREAM] if flow == "derive" else [ASSET_STREAM, state_topic(1)]
        return all(self._finished(flow, topic) for topic in topics)

    def _finished(self, flow: View, topic: str) -> bool:
        noted = committed(self.site.kafka, progress_group(flow, 1), topic)
        ends = {p: high for p, (_, high) in watermarks(self.site.kafka, topic).items()}
        return all(noted.get(p, 0) >= end for p, end in ends.items())
