"""A test that fails says what its processes said."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

def test_one_that_is_well(tmp_path):
    (tmp_path / "well.log").write_text("nothing to see")

@pytest.fixture
def broken(tmp_path):
    (tmp_path / "setup.log").write_text("the setup said this")
    raise OSError

def test_one_that_fails(tmp_path):
    (tmp_path / "flow.log").write_text("long ago\\n" * 100 + "could not go on")
    (tmp_path / "00000000000000000000.log").write_bytes(b"\\0\\1\\2")
    assert False

def test_one_whose_setup_fails(broken):
    pass
"""


def test_what_fails_shows_the_last_lines_of_the_logs_written_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "test_three.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.logs", "-c", "/dev/null", f"--rootdir={tmp_path}"]
    command += [f"--basetemp={tmp_path / 'data'}", "-p", "no:cacheprovider", str(tmp_path / "test_three.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "1 passed, 1 failed, 1 error" in done.stdout.replace("1 failed, 1 passed", "1 passed, 1 failed")
    assert done.stdout.count("last lines of") == 2
    assert "last lines of test_one_that_fails0/flow.log" in done.stdout
    assert "could not go on" in done.stdout
    assert 0 < done.stdout.count("long ago") - TESTS.count("long ago") < 50
    assert "the setup said this" in done.stdout
    assert "last lines of test_one_that_is_well" not in done.stdout
