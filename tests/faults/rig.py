"""Servers, the views as processes, and a writer under load: what faults are done to."""

import itertools
import random
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from assets.stream import ASSET_STREAM, state_topic
from deploy.processes import Child, Flow
from deploy.stack import Service, Stack
from deploy.wait import until
from flows._site import Site, View, progress_group
from sources.kafka import committed
from tests.faults import proof
from tests.faults.writer import Writer
from tests.forms import SEEDS

VIEWS: Final[tuple[View, ...]] = ("derive", "serve", "archive")
ROLL_S: Final = 60
PATIENCE_S: Final = 90
STOP_S: Final = 60
STREAM_S: Final = 3_000 * len(SEEDS)
"""Length of the stream that one module can use up."""


class Rig:
    """One stack, one stream, one archive."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        roll = f"{ROLL_S}s"
        self.environment = {**stack.environment, "PENSTOCK_DATA": str(folder), "PENSTOCK_ROLL": roll}
        self.site = Site.from_environment(self.environment)
        self.site.create_topics()
        self.writer = Writer(self.site.kafka, STREAM_S)
        self.flows = {view: self._flow(view) for view in VIEWS}
        self._done_before: dict[str, int] = {}
        self.generations = itertools.count(2)
        """Numbers of rebuilt generations that no test has used."""

    def _flow(self, view: View) -> Flow:
        return Flow(view, self.environment, self.log(view), self.folder / "recovery" / view)

    def log(self, view: View) -> Path:
        return self.folder / "logs" / f"{view}.log"

    def start(self, *views: View) -> None:
        """Start flows; a recovery store that was deleted is made anew."""
        for view in views:
            self._done_before[view] = self._done(view)
            self.flows[view] = self._flow(view)
            self.flows[view].start()

    def reads(self, view: View) -> bool:
        """Whether a flow has finished something since its start."""
        assert self.flows[view].running, self.flows[view].crash_report()
        return self._done(view) > self._done_before[view]

    def _done(self, view: View) -> int:
        return sum(committed(self.site.kafka, progress_group(view, 1), ASSET_STREAM).values())

    def forget(self, view: View) -> None:
        """Delete a flow's recovery store."""
        shutil.rmtree(self.folder / "recovery" / view)

    def kill(self, *views: View) -> None:
        """SIGKILL to flows that run."""
        for view in views:
            assert self.flows[view].running, self.flows[view].crash_report()
            self.flows[view].kill()

    def stop(self, *views: View) -> None:
        """Stop flows cleanly."""
        for view in views:
            assert self.flows[view].stop(STOP_S) == 0, self.flows[view].crash_report()

    def end(self) -> None:
        """Leave nothing running."""
        for flow in self.flows.values():
            if flow.running:
                flow.kill()

    def said(self, view: View, words: str, since: int = 0) -> list[str]:
        """The lines of a flow's log with these words."""
        text = self.log(view).read_bytes()[since:].decode()
        return [line for line in text.splitlines() if words in line]

    def settle(self, views: Iterable[View] = VIEWS) -> proof.Ends:
        """Let the views finish all there is, and the archive publish all there was; returns where the topics ended."""
        self.finish(views)
        ends = proof.ends(self.site)
        self.writer.write(2 * ROLL_S + 2)
        self.finish(views)
        return ends

    def finish(self, views: Iterable[View] = VIEWS) -> None:
        """Wait until the views have finished all there is, in the order of the data's way."""
        for view in views:
            ends = proof.ends(self.site)
            until(partial(self._finished, view, ends), PATIENCE_S, f"{view} to finish")

    def _finished(self, view: View, ends: Mapping[str, Mapping[int, int]]) -> bool:
        assert self.flows[view].running, self.flows[view].crash_report()
        topics = (ASSET_STREAM,) if view == "derive" else (ASSET_STREAM, state_topic(1))
        for topic in topics:
            done = committed(self.site.kafka, progress_group(view, 1), topic)
            if any(done.get(p, 0) < end for p, end in ends[topic].items()):
                return False
        return True

    def prove(self, until_: proof.Ends, *, crashed: bool = False) -> None:
        """Nothing is lost and nothing is repeated, in derived state, in Parquet, in NATS.

        No log has a traceback, unless flows `crashed`.
        """
        batches = proof.stream(self.site)
        derived = proof.prove_derived(self.site, batches)
        assert sum(map(len, derived.values())) > 0
        proof.prove_archived(self.site, until_, batches, derived)
        proof.prove_accounts(self.site)
        for view in VIEWS:
            assert crashed or not self.said(view, "Traceback"), self.log(view)


@contextmanager
def away(server: Service, how: str) -> Iterator[None]:
    """The server does not answer for as long as this is entered: `stopped`, `killed` or `frozen`; then it is back."""
    if how == "stopped":
        server.stop()
    elif how == "killed":
        server.kill()
    else:
        server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        if how == "frozen":
            server.signal(signal.SIGCONT)
        else:
            server.start()
        until(server.ready, PATIENCE_S, server.name)


def moment(child: Child, chance: random.Random, longest_s: float) -> None:
    """A random while in which a process must not end."""
    try:
        code = child.wait(chance.uniform(0.1, longest_s))
    except TimeoutError:
        return
    raise AssertionError(f"exit code {code}: {child.crash_report()}")
