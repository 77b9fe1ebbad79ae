"""Child processes: started, watched, stopped, and quoted when they end by themselves."""

import signal
import sys
from pathlib import Path

import pytest

from deploy.processes import Child, ChildError
from deploy.wait import until

READY_THEN_WAIT = "import signal; print('ready', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"


def child(tmp_path: Path, script: str) -> Child:
    return Child("worker", [sys.executable, "-c", script], tmp_path / "worker.log")


def started(tmp_path: Path, script: str) -> Child:
    process = child(tmp_path, script).start()
    until(lambda: "ready" in process.last_lines(), 60, "the first line")
    return process


def test_a_child_runs_until_it_is_stopped(tmp_path: Path) -> None:
    process = started(tmp_path, READY_THEN_WAIT)
    usage = process.usage()
    assert process.poll() is None
    assert usage
    assert usage.rss_bytes > 0
    assert process.stop() == -signal.SIGTERM
    assert process.usage() is None


def test_a_child_that_does_not_stop_is_killed_after_the_deadline(tmp_path: Path) -> None:
    assert started(tmp_path, DEAF).stop(timeout_s=0.1) == -signal.SIGKILL


def test_a_crash_is_reported_with_the_last_lines_of_this_run_only(tmp_path: Path) -> None:
    child(tmp_path, "print('an older run')").start().wait(60)
    process = child(tmp_path, "print('one'); print('two'); raise SystemExit(3)").start()
    process.wait(60)
    assert process.crash_report() == (
        f'process "worker" ended with exit code 3; its last lines in {tmp_path / "worker.log"}:\n  one\n  two'
    )


def test_a_child_gets_the_environment_it_is_given(tmp_path: Path) -> None:
    script = "import os; print(os.environ['PENSTOCK_PLANT'])"
    process = Child("worker", [sys.executable, "-c", script], tmp_path / "log", {"PENSTOCK_PLANT": "plants/a"}).start()
    process.wait(60)
    assert process.last_lines() == "  plants/a"


def test_a_child_that_was_not_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match='process "worker" was not started'):
        child(tmp_path, "").stop()
