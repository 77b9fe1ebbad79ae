"""The whole demo, once: its report adds up, and every derived state is what the machines' own truth says."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from assets.connection import KafkaConnection
from assets.frame import DerivedEvent, decode_event, decode_tick
from assets.status import BAD_NO_DATA, BAD_TIMEOUT
from assets.stream import ASSET_STREAM, state_topic
from deploy import local
from deploy.demo import expected, truth
from deploy.demo.expected import AVAILABILITY, Change, Doubt
from deploy.paths import ROOT, jars_folder
from sources.kafka import read_range, watermarks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SECONDS = 45
MANY = 20
"""Changes that must have been there to compare, also on a machine that is slow to start."""
SECOND_US = 1_000_000
FOR_EVER = 1 << 62
TOLERANCE_US = {"press": 0, "furnace": 0, "conveyor": 1 * SECOND_US}
"""Over OPC UA times are the device's; over Modbus those of the poll, which a busy machine may delay."""
ASSETS = {f"{kind}-{number:02}" for kind in TOLERANCE_US for number in range(1, 5)}


class Demo(NamedTuple):
    """A demo that has ended: what it said and left behind; its servers still run."""

    exit_code: int
    output: str
    report: dict[str, Any]
    kafka: KafkaConnection
    truth: list[truth.Line]


def run(data: Path, seconds: int) -> Demo:
    file = data / "report.json"
    command = [sys.executable, "-m", "deploy", "demo", "--seconds", str(seconds), "--report", str(file)]
    environment = {**os.environ, "PENSTOCK_DATA": str(data)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert file.exists(), done.stdout + done.stderr
    kafka = KafkaConnection.from_environment(local.status(data).environment)
    lines = truth.read(data / "plant" / "truth.jsonl")
    return Demo(done.returncode, done.stdout + done.stderr, json.loads(file.read_text()), kafka, lines)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a running stack of its own; what was downloaded is shared."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "jars").symlink_to(jars_folder())
    local.up(folder)
    yield folder
    local.down(folder)


@pytest.fixture(scope="module")
def demo(data: Path) -> Demo:
    return run(data, SECONDS)


def test_the_demo_ends_well_with_nothing_different_and_nothing_unexplained(demo: Demo) -> None:
    report = demo.report
    assert demo.exit_code == 0, demo.output
    assert (report["differences"], report["unexplained"], report["problems"]) == (0, 0, [])
    assert [flow["exit_code"] for flow in report["flows"].values()] == [0, 0, 0, 0]


def test_every_source_is_accounted_for(demo: Demo) -> None:
    sources = demo.report["sources"]
    assert len(sources) == 14
    for account in sources.values():
        kept = account["published"] + account["suppressed"] + account["rejected"] + account["buffered"]
        assert account["received"] == kept > 0
        assert account["unexplained"] == 0
    assert demo.report["observations"] == sum(account["observations"] for account in sources.values()) > 1000


def test_views_were_rebuilt_from_all_of_the_stream_and_compared(demo: Demo) -> None:
    views = demo.report["views"]
    assert set(views) == {"derive", "serve", "archive"}
    assert views["derive"]["verify"]["compared"] == demo.report["derived_events"]
    for view in views.values():
        assert view["rebuild"]["records"] > 1000
        assert view["verify"]["compared"] > 100
        assert view["verify"]["hash_live"] == view["verify"]["hash_rebuilt"]


def test_the_archive_answers_for_every_asset(demo: Demo) -> None:
    assert {row["asset"] for row in demo.report["query"]["answer"]} == ASSETS
    assert demo.report["parquet_rows"] > 1000


def test_every_derived_state_is_what_the_truth_says(demo: Demo) -> None:
    told = [(event.asset, event.metric, event.value, event.time) for event in events(demo.kafka)]
    assert {asset for asset, metric, *_ in told if metric != AVAILABILITY} == ASSETS
    since = min(at for _, _, _, at in told)
    wanted = expected.expected_changes(demo.truth, since)
    end = last_mark(demo.kafka)
    unsure = [*expected.doubts(demo.truth, since), *(Doubt(asset, end, FOR_EVER) for asset in ASSETS)]
    unsure += unanswered(demo.kafka)
    assert len([at for _, _, _, at in wanted if at < end]) > MANY
    assert missing(wanted, told, unsure) == []
    assert missing(told, wanted, unsure) == []


def test_a_second_demo_on_the_same_data_adds_up_too(data: Path, demo: Demo) -> None:
    again = run(data, 8)
    assert again.exit_code == 0, again.output
    assert (again.report["differences"], again.report["unexplained"], again.report["problems"]) == (0, 0, [])
    assert again.report["observations"] > demo.report["observations"]


@pytest.mark.usefixtures("demo")
def test_ctrl_c_in_a_terminal_stops_everything_and_leaves_no_process(data: Path) -> None:
    with terminal(data) as (process, screen):
        seen = b""
        deadline = time.monotonic() + 60
        while not (b"conveyor-04" in seen and b"observations/s" in seen and b"14 linked" in seen):
            assert select.select([screen], [], [], max(0, deadline - time.monotonic()))[0], seen[-2000:]
            seen += os.read(screen, 65536)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 5  # the plant and four flows
        process.send_signal(signal.SIGINT)
        threading.Thread(target=drain, args=(screen,), daemon=True).start()
        assert process.wait(90) == 0
        assert not [child for child in children if child.is_running()]


@contextmanager
def terminal(data: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A demo in a terminal of 80 x 24, and what is on its screen."""
    screen, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "PENSTOCK_DATA": str(data), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "deploy", "demo"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    try:
        yield process, screen
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
        os.close(screen)


def drain(screen: int) -> None:
    """Read on, so that the terminal never is full."""
    with suppress(OSError):
        while os.read(screen, 65536):
            pass


def events(kafka: KafkaConnection) -> list[DerivedEvent]:
    """All changes that were derived."""
    topic = state_topic(1)
    records = (value for batch in read_range(kafka, topic, watermarks(kafka, topic)) for value in batch.values)
    return [decode_event(record) for record in records if record is not None]


def unanswered(kafka: KafkaConnection) -> list[Doubt]:
    """Polls that came back too late or were left out because the computer was too busy to play: not in their truth."""
    found = events(kafka)
    late = [(e.asset, e.since, e.until) for e in found if e.previous is None and e.since is not None and e.until]
    begun = {(e.asset, e.time) for e in found if e.status in {BAD_TIMEOUT, BAD_NO_DATA}}
    spans = [(asset, since, until) for asset, since, until in late if (asset, since) in begun]
    assert sum(until - since for _, since, until in spans) < len(ASSETS) * SECOND_US
    return [Doubt(asset, since - SECOND_US, until + SECOND_US) for asset, since, until in spans]


def last_mark(kafka: KafkaConnection) -> int:
    """Until when the gateway has certainly heard from every source."""
    batches = read_range(kafka, ASSET_STREAM, watermarks(kafka, ASSET_STREAM))
    pairs = (pair for batch in batches for pair in zip(batch.keys, batch.values, strict=True))
    marks: dict[str, int] = {}
    for tick in (decode_tick(value) for key, value in pairs if key is None and value is not None):
        marks |= {name: max(account.mark, marks.get(name, 0)) for name, account in tick.sources.items() if account.mark}
    return min(marks.values()) - SECOND_US


def missing(these: Iterable[Change], those: Iterable[Change], unsure: Iterable[Doubt]) -> list[str]:
    """Which of these changes are not among those, at about the same time; spans in doubt are left out."""
    spans = list(unsure)
    known: dict[tuple[str, str, Any], list[int]] = {}
    for asset, metric, value, at in those:
        known.setdefault((asset, metric, value), []).append(at)
    found = []
    for asset, metric, value, at in these:
        away = min((abs(time - at) for time in known.get((asset, metric, value), [])), default=FOR_EVER)
        in_doubt = any(span.asset == asset and span.start <= at <= span.end for span in spans)
        if not in_doubt and away > TOLERANCE_US[asset.split("-")[0]]:
            found.append(f"{asset}.{metric} = {value} at {at}; the nearest is {away} us away")
    return found
