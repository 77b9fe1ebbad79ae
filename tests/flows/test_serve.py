"""`serve` through kills, outages and lost stores: the last values in NATS are the fold of the stream, byte for byte."""

import asyncio
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from assets.frame import Flag, Frame, Tick, encode_frame, encode_tick
from assets.newest import Newest
from assets.stream import ASSET_STREAM, partition_of, state_topic
from deploy.nats import Nats
from deploy.processes import Flow
from deploy.stack import Stack
from deploy.wait import until
from flows._site import Site, progress_group
from operators.decode import FrameDecoder, decode_events
from operators.live_values import LiveValues
from sinks._kafka import shared_producer
from sinks.nats import delete_stream, find_last_values
from sources.kafka import committed, read_range, watermarks
from tests.forms import OUTAGE_S, SEEDS
from tests.streams import S, definition, frame, tick

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

PACE: Final = 30
"""Seconds of the stream per second of the test."""
PATIENCE_S: Final = 90
PROOF_S: Final = 90
KILLS: Final = 3
START: Final = 1_800_000_000
ASSETS: Final = [f"press-{n:02}" for n in range(1, 25)]
KEYFRAME: Final = int(Flag.KEYFRAME)
RULES: Final[dict[str, dict[str, Any]]] = {
    "running": {"rule": "durations", "item": "state"},
    "overheat": {"rule": "alarm", "item": "temperature", "above": 90.0, "on_delay": 2 * S},
    "availability": {"rule": "availability"},
}


LINES: Final = {
    line: msgspec.structs.replace(definition(**RULES), path=f"acme/hamburg/forming/line-{line}") for line in (1, 2)
}


def told(at: int, asset: str, *observations: tuple[Any, ...], line: int = 1) -> Frame:
    """A frame under the definition that places the asset at a line."""
    model = LINES[line]
    values = [(item, model.value() if item == "_model" else value, *rest) for item, value, *rest in observations]
    made = frame(at, *values, asset=asset)
    made.model = model.model
    return made


def second(number: int) -> Iterator[Frame | Tick]:
    """What all assets say in one second: values, and now and then an asset moves, is removed or writes a key frame."""
    at = START + number
    for n, asset in enumerate(ASSETS):
        age = number - 7 * n
        line = 1 + max(age, 0) // 60 % 2
        state, temperature = ("Idle", "Execute", "Held")[(number + n) // 3 % 3], 80.0 + (number + n) % 20
        if number == 0 or (age > 0 and age % 60 == 0):
            yield told(at, asset, ("_model", None), ("_availability", "AVAILABLE"), line=line)
        elif age > 0 and age % 60 == 50 and n % 4 == 0:
            yield told(at, asset, ("_removed", True), line=line)
        elif age > 0 and age % 60 > 50 and n % 4 == 0:
            continue
        elif number % 40 == n:
            key = [("state", state, 0, None, KEYFRAME), ("temperature", temperature, 0, None, KEYFRAME)]
            yield told(at, asset, ("_model", None, 0, None, KEYFRAME), *key, line=line)
        elif n % 5 or number % 30 == 0:
            yield told(at, asset, ("state", state), ("temperature", temperature), line=line)
    yield tick(at, "s")


class Rig:
    """The servers, both flows, and a stream that goes on from test to test."""

    def __init__(self, servers: Stack, data: Path) -> None:
        self.servers, self.data = servers, data
        self.environment = {**servers.environment, "PENSTOCK_DATA": str(data)}
        self.site = Site.from_environment(self.environment)
        self.site.create_topics()
        self.log = data / "serve.log"
        self.store = data / "recovery" / "serve"
        self.derive = self._flow("derive")
        self.serve = self._flow("serve")
        self.seconds = 0
        self._producer = shared_producer(self.site.kafka)

    def _flow(self, name: str) -> Flow:
        return Flow(name, self.environment, self.data / f"{name}.log", self.data / "recovery" / name)

    @property
    def nats(self) -> Nats:
        server = self.servers.services["nats"]
        assert isinstance(server, Nats)
        return server

    def start(self, *, forget: bool = False) -> None:
        """Start serve, with what it remembers or without."""
        if forget:
            shutil.rmtree(self.store)
        self.serve = self._flow("serve")
        self.serve.start()

    def write(self, seconds: int) -> None:
        """So many seconds of the stream."""
        for _ in range(seconds):
            for record in second(self.seconds):
                if isinstance(record, Frame):
                    home = partition_of(record.asset, 12)
                    self._producer.produce(ASSET_STREAM, encode_frame(record), record.asset.encode(), home)
                else:
                    for partition in range(12):
                        self._producer.produce(ASSET_STREAM, encode_tick(record), None, partition)
            self.seconds += 1
        self._producer.drain_within(PATIENCE_S)

    @contextmanager
    def load(self) -> Iterator[None]:
        """Write at `PACE` as long as this is entered."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(1 / PACE):
                self.write(1)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(PATIENCE_S)

    def passes(self, seconds: float) -> None:
        """A time in which serve must not end."""
        with pytest.raises(TimeoutError):
            self.serve.wait(seconds)

    def said(self, words: str, begin: int = 0) -> list[str]:
        """Lines of its log."""
        return [line for line in self.log.read_text()[begin:].splitlines() if words in line]

    def proved(self) -> None:
        """Both flows finish all there is; then NATS holds the fold of the stream."""
        until(lambda: self._finished("derive", ASSET_STREAM), PATIENCE_S, "derive to finish")
        with suppress(TimeoutError):  # what differs says more
            until(lambda: self.held() == self.fold(), PROOF_S, "the fold of the stream", every_s=0.5)
        held, fold = self.held(), self.fold()
        missing, wrong = fold.keys() - held.keys(), [subject for subject in held if held[subject] != fold.get(subject)]
        assert not missing, (len(missing), min(missing), self.serve.last_lines())
        assert not wrong, (len(wrong), held[wrong[0]], fold.get(wrong[0]), self.serve.last_lines())
        assert len(self.held()) > len(ASSETS)
        assert self.serve.running, self.serve.crash_report()

    def _finished(self, view: str, topic: str) -> bool:
        done = committed(self.site.kafka, progress_group(view, 1), topic)  # type: ignore[arg-type]
        return all(done.get(p, 0) >= end for p, (_, end) in watermarks(self.site.kafka, topic).items())

    def held(self) -> dict[str, bytes]:
        """What NATS holds."""
        return asyncio.run(find_last_values(self.site.nats)) or {}

    def fold(self) -> dict[str, bytes]:
        """What it must hold: all of both topics in one piece."""
        decode = FrameDecoder(12)
        operators = {partition: LiveValues() for partition in range(12)}
        folds = {partition: Newest() for partition in range(12)}
        for raw in read_range(self.site.kafka, ASSET_STREAM, watermarks(self.site.kafka, ASSET_STREAM)):
            folds[raw.partition].take(operators[raw.partition].batch(decode(raw)[0]))
        for raw in read_range(self.site.kafka, state_topic(1), watermarks(self.site.kafka, state_topic(1))):
            folds[raw.partition].take(operators[raw.partition].derived(decode_events(raw)[0]))
        return {subject: value.payload for fold in folds.values() for subject, value in fold.values.items()}

    def wipe(self, away_s: float = 0.0) -> None:
        """NATS is killed, and comes back with an empty store."""
        self.nats.kill()
        shutil.rmtree(self.nats.data)
        if away_s:
            self.passes(away_s)
        self.revive()

    def revive(self) -> None:
        """Start NATS again, or let it go on."""
        if self.nats.running:
            self.nats.signal(signal.SIGCONT)
        else:
            self.nats.start()
        until(self.nats.ready, PATIENCE_S, "nats-server")


@pytest.fixture(scope="module")
def shared(servers: Stack, data: Path) -> Iterator[Rig]:
    made = Rig(servers, data)
    made.derive.start()
    yield made
    made.derive.stop()


@pytest.fixture
def rig(shared: Rig) -> Iterator[Rig]:
    """The rig with some stream; serve is not running."""
    shared.write(30)
    yield shared
    if shared.serve.running:
        shared.serve.kill()


@pytest.mark.parametrize("memory", ["kept", "deleted", "no NATS"])
@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_any_moment_it_ends_with_the_fold_of_the_stream(rig: Rig, seed: int, memory: str) -> None:
    chance = random.Random(f"{seed} {memory}")
    rig.start()
    with rig.load():
        for _ in range(KILLS):
            rig.passes(chance.uniform(0.0, 4.0))
            rig.serve.kill()
            if memory == "no NATS":
                rig.wipe()
            rig.start(forget=memory == "deleted")
            if memory == "no NATS":
                rig.passes(chance.uniform(0.0, 4.0))
                rig.nats.kill()
                rig.revive()
    rig.proved()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_it_waits_for_nats_and_says_so_once(rig: Rig, how: str) -> None:
    rig.start()
    rig.proved()
    begin = rig.log.stat().st_size
    with rig.load():
        if how == "stopped":
            rig.nats.stop()
        else:
            rig.nats.kill()
        rig.passes(OUTAGE_S)
        rig.revive()
    rig.proved()
    assert [len(rig.said(words, begin)) for words in ("lost NATS", "is back")] == [1, 1]
    assert len(rig.said("", begin)) == 2


def test_it_goes_on_after_a_silence_of_nats(rig: Rig) -> None:
    rig.start()
    rig.proved()
    begin = rig.log.stat().st_size
    with rig.load():
        rig.nats.signal(signal.SIGSTOP)
        rig.passes(OUTAGE_S)
        rig.revive()
        rig.passes(1.0)
    rig.proved()
    lost, back = (rig.said(words, begin) for words in ("lost NATS", "is back"))
    assert len(lost) == len(back) <= 1


def test_under_way_it_fills_an_empty_store_again(rig: Rig) -> None:
    rig.start()
    rig.proved()
    begin = rig.log.stat().st_size
    with rig.load():
        rig.wipe(away_s=OUTAGE_S)
        rig.passes(1.0)
    rig.proved()
    assert len(rig.said("was emptied or made anew; publishing all", begin)) == 1


def test_under_way_it_notices_a_deleted_stream(rig: Rig) -> None:
    rig.start()
    rig.proved()
    asyncio.run(delete_stream(rig.site.nats, "penstock"))
    rig.proved()


@pytest.mark.parametrize("loss", ["wiped", "deleted"])
def test_a_store_that_was_lost_while_it_stood_still_is_filled_from_the_stream(rig: Rig, loss: str) -> None:
    rig.start()
    rig.proved()
    assert rig.serve.stop(60) == 0, rig.serve.last_lines()
    if loss == "wiped":
        rig.wipe()
    else:
        asyncio.run(delete_stream(rig.site.nats, "penstock"))
    begin = rig.log.stat().st_size
    rig.start()
    rig.proved()
    assert len(rig.said("reading the stream from its oldest record", begin)) == 1
    rig.serve.kill()
    rig.start()
    rig.proved()
    assert len(rig.said("reading the stream from its oldest record", begin)) == 1
