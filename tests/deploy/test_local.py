"""Up, down and status, as other processes see them: servers that live on, are found again, and leave nothing behind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy import local, nats
from deploy.stack import StackError
from deploy.state import Phase
from deploy.wait import until


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for a stack with its own nats-server; the broker is an existing one, which costs nothing."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "broker.example:9092")
    monkeypatch.delenv("NATS_URL", raising=False)
    yield tmp_path
    local.down(tmp_path)


def test_up_returns_when_the_servers_answer_and_down_leaves_no_process(data: Path) -> None:
    state = local.up(data)
    pids = [process.pid for process in state.processes()]
    assert nats.answers(state.services["nats"].address)
    assert len(pids) == 2  # the supervisor and nats-server
    assert local.down(data) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert local.status(data).phase == Phase.STOPPED


def test_a_second_up_finds_the_running_servers(data: Path) -> None:
    assert local.up(data) == local.up(data)


def test_data_and_port_are_kept_across_restarts(data: Path) -> None:
    first = local.up(data)
    local.down(data)
    assert local.up(data).services["nats"].port == first.services["nats"].port


def test_a_killed_server_is_reported_with_its_last_lines(data: Path) -> None:
    state = local.up(data)
    process = state.services["nats"].process
    assert process
    os.kill(process.pid, signal.SIGKILL)
    failed = until(lambda: state if (state := local.status(data)).phase == Phase.FAILED else None, 60, "the report")
    assert failed.message.startswith('process "nats" was ended by SIGKILL; its last lines in ')
    assert failed.message.endswith("Server is ready")


def test_servers_end_with_a_killed_supervisor_and_the_next_up_starts_afresh(data: Path) -> None:
    state = local.up(data)
    nats_server = state.processes()[1]
    assert state.supervisor
    os.kill(state.supervisor.pid, signal.SIGKILL)
    nats_server.wait(60)
    assert local.status(data).message == "its supervisor was killed"
    assert local.up(data).alive


def test_existing_servers_are_used(data: Path, kafka: str, nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka)
    monkeypatch.setenv("NATS_URL", nats_url)
    state = local.up(data)
    assert state.environment == {"KAFKA_BOOTSTRAP": kafka, "NATS_URL": nats_url}
    assert not state.processes()


def test_an_existing_server_that_does_not_answer_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "EXTERNAL_TIMEOUT_S", 0.1)
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    with pytest.raises(StackError) as error:
        local.up(data)
    assert str(error.value) == (
        'could not reach kafka at "127.0.0.1:1", named in the environment: no answer within 0.1 s; '
        "correct the address, or unset it to use the local stack"
    )
