"""Kafka stopped, killed, frozen, and a full disk, under load: the views wait, say so once, and go on exactly."""

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.soak_disk import Disk
from deploy.wait import until
from tests.faults.rig import PATIENCE_S, VIEWS, Rig, away, moment
from tests.forms import OUTAGE_S

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

DISK = "24M"
FILL_STEP = 1 << 16
PURPOSES = 4
"""Each flow reads two topics and writes two at most, and says of each when it is away and when it is back."""


@pytest.mark.parametrize("how", ["stopped", "killed", "frozen"])
def test_views_wait_for_a_broker_that_is_away_and_go_on(rig: Rig, how: str) -> None:
    rig.start(*VIEWS)
    rig.writer.write(5)
    rig.finish()
    begin = {view: rig.log(view).stat().st_size for view in VIEWS}
    with rig.writer.load():
        moment(rig.flows["derive"], random.Random(how), 2.0)
        with away(rig.stack.services["kafka"], how):
            moments(rig, OUTAGE_S)
    ends = rig.settle()
    rig.stop(*VIEWS)
    rig.prove(ends)
    for view in VIEWS:
        lost, back = (rig.said(view, words, begin[view]) for words in ("is unreachable", "answers again"))
        assert how == "frozen" or lost, "a short silence need not be noticed; an outage must be"
        assert len(lost) <= PURPOSES, lost
        assert len(back) == len(lost), (lost, back)
        assert len({line.split(": ", 1)[1] for line in lost}) == len(lost), lost
        assert len(rig.said(view, "", begin[view])) <= 2 * PURPOSES + 2, rig.log(view).read_text()[-3000:]


def moments(rig: Rig, seconds: float) -> None:
    """Some seconds in which no view ends."""
    with pytest.raises(TimeoutError):
        rig.flows["derive"].wait(seconds)
    for view in VIEWS:
        assert rig.flows[view].running, rig.flows[view].crash_report()


@pytest.fixture
def small_disk(rig: Rig) -> Iterator[Path]:
    """The archive of the rig on a small disk of its own."""
    folder = rig.site.archive_folder(1)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder.with_name("kept")
    folder.rename(kept)
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        folder.rmdir()
        kept.rename(folder)
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    subprocess.run(["cp", "-a", f"{kept}/.", str(folder)], check=True)
    yield folder
    rig.end()
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()
    kept.rename(folder)


def test_the_archive_waits_for_space_on_a_full_disk_and_goes_on(rig: Rig, small_disk: Path) -> None:
    rig.start(*VIEWS)
    rig.finish()
    begin = rig.log("archive").stat().st_size
    ballast = small_disk / "ballast"
    fill(ballast)
    with rig.writer.load():
        until(lambda: rig.said("archive", "the disk is full", begin), PATIENCE_S, "the disk to be full")
        moments(rig, 2.0)
        ballast.unlink()
        until(lambda: rig.said("archive", "there is space again", begin), PATIENCE_S, "space")
    ends = rig.settle()
    rig.stop(*VIEWS)
    rig.prove(ends)
    assert len(rig.said("archive", "the disk is full", begin)) == 1
    assert len(rig.said("archive", "there is space again", begin)) == 1


def test_on_a_full_disk_under_the_recovery_stores_flows_end_and_the_next_start_goes_on(rig: Rig) -> None:
    shutil.rmtree(rig.folder / "recovery", ignore_errors=True)
    with Disk(rig.folder / "recovery") as disk:
        if disk.why_not:
            pytest.skip(f"a small disk cannot be mounted here: {disk.why_not}")
        rig.start(*VIEWS)
        rig.writer.write(5)
        rig.finish()
        disk.fill()
        with rig.writer.load():
            codes = {view: rig.flows[view].wait(PATIENCE_S) for view in VIEWS}
        assert codes == dict.fromkeys(VIEWS, 1)
        for view in VIEWS:
            assert "database or disk is full" in rig.flows[view].last_lines()
        disk.empty()
        rig.start(*VIEWS)
        ends = rig.settle()
        rig.stop(*VIEWS)
    rig.prove(ends, crashed=True)


def fill(file: Path) -> None:
    """Take all the space there is."""
    with file.open("wb", buffering=0) as ballast:
        for step in (FILL_STEP, 512):
            try:
                while True:
                    ballast.write(bytes(step))
            except OSError:
                continue
