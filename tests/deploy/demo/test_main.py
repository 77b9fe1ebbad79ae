import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo import truth

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "deploy.demo", "--data"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_plant_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen([*COMMAND, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        word, _, text = process.stdout.readline().partition(" ")
        process.send_signal(number)
        assert process.wait(20) == 0
    ready = json.loads(text)
    assert word == "READY"
    assert ready["pid"] == process.pid
    named = {"DEMO_OPCUA_1", "DEMO_OPCUA_2", "DEMO_MODBUS_1", "DEMO_MODBUS_2", "PENSTOCK_PLANT"}
    assert set(ready["env"]) == named
    assert ready["env"]["DEMO_MODBUS_2"].startswith("tcp://127.0.0.1:")
    assert truth.read(Path(ready["truth"]))[-1]["kind"] == "end"


def test_it_ends_by_itself_after_the_seconds_asked_for(tmp_path: Path) -> None:
    subprocess.run([*COMMAND, str(tmp_path), "--seconds", "0.5"], cwd=ROOT, check=True, timeout=30)
    lines = truth.read(tmp_path / "truth.jsonl")
    assert [lines[0]["kind"], lines[-1]["kind"]] == ["start", "end"]
