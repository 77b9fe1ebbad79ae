import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo import truth
from deploy.demo.site import free_ports

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


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    ports = free_ports(4)
    with socket.create_server(("127.0.0.1", ports[2])):
        command = [*COMMAND, str(tmp_path), "--ports", *map(str, ports)]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith(f"could not start the demo plant on ports {ports}: ")
    assert str(ports[2]) in done.stderr.partition("]: ")[2]
    assert "Traceback" not in done.stderr
