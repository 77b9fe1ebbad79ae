"""Claims: of two processes that would write the same partitions of a view one is refused, or the older one ends."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Self

import msgspec
import pytest

from assets.condition import Refused
from assets.connection import KafkaConnection
from assets.stream import VIEWS
from sinks import _claim
from sinks._claim import Claim, Writer, born, machine, overlap
from sinks.kafka import ensure_topics, put_table, stream_topics
from sources._partition import Stop
from sources.kafka import read_table

pytestmark = pytest.mark.slow

PATIENCE_S = 60


class Claimant:
    """A process as far as claims go."""

    def __init__(self, connection: KafkaConnection, view: str, copy: str = "0/1") -> None:
        self.ended = threading.Event()
        self.reason = ""
        self.claim = Claim(connection, view, copy, Stop(), self._end)

    def _end(self, reason: str) -> None:
        self.reason = reason
        self.ended.set()

    def __enter__(self) -> Self:
        self.claim.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.claim.release()


@pytest.fixture
def connection(kafka: str) -> KafkaConnection:
    made = KafkaConnection(bootstrap=kafka)
    ensure_topics(made, stream_topics(1))
    return made


@pytest.fixture
def view(unique: Callable[[str], str]) -> str:
    return unique("derive.g1")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the processes of this test run on other machines, each on its own."""
    names = (f"machine-{n}/boot" for n in range(99))
    monkeypatch.setattr(_claim, "machine", lambda: next(names))
    monkeypatch.setattr(_claim, "TAKEOVER_S", 0.1)


def left_by(connection: KafkaConnection, view: str, copy: str, pid: int, began: int) -> None:
    """A claim as a process of this machine has left it."""
    writer = Writer("earlier", machine(), pid, began, 1_800_000_000_000_000)
    put_table(connection, VIEWS, f"writer.{view}.{copy}".encode(), msgspec.json.encode(writer))


def test_a_second_process_of_this_machine_is_refused_and_the_first_goes_on(
    connection: KafkaConnection, view: str
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        began = born(other.pid)
        assert began is not None
        left_by(connection, view, "0/1", other.pid, began)
        with pytest.raises(Refused) as error:
            Claimant(connection, view, "1/3").__enter__()
        where = machine().partition("/")[0]
        assert str(error.value) == (
            f'could not begin to write view "{view}": process {other.pid} on {where} since 2027-01-15T08:00:00Z writes '
            "it; stop that process first, or wait until it has ended"
        )
        other.kill()
    with Claimant(connection, view):
        assert f"writer.{view}.0/1".encode() in read_table(connection, VIEWS)
    assert f"writer.{view}.0/1".encode() not in read_table(connection, VIEWS)


def test_another_process_with_the_number_of_a_dead_one_is_none(connection: KafkaConnection, view: str) -> None:
    left_by(connection, view, "0/1", os.getppid(), 1)
    with Claimant(connection, view):
        pass


@pytest.mark.usefixtures("elsewhere")
def test_the_newer_of_two_machines_writes_and_the_older_one_ends(connection: KafkaConnection, view: str) -> None:
    with Claimant(connection, view) as older, Claimant(connection, view) as newer:
        assert older.ended.wait(PATIENCE_S)
        assert older.reason.startswith(
            f'could not go on writing view "{view}": process {os.getpid()} on machine-1 since '
        )
        assert older.reason.endswith(" has taken it over; run one of the two")
        assert not newer.ended.is_set()


@pytest.mark.usefixtures("elsewhere")
def test_a_change_of_copies_ends_those_that_have_partitions_in_common(connection: KafkaConnection, view: str) -> None:
    with Claimant(connection, view, "0/2") as one, Claimant(connection, view, "1/2") as two:
        with Claimant(connection, view, "2/4") as newer:
            assert one.ended.wait(PATIENCE_S)
            assert not two.ended.is_set()
            assert not newer.ended.is_set()
        claims = [key for key in read_table(connection, VIEWS) if key.startswith(f"writer.{view}.".encode())]
        assert claims == [f"writer.{view}.1/2".encode()]


@pytest.mark.usefixtures("elsewhere")
def test_a_claim_that_somebody_has_removed_is_lost(connection: KafkaConnection, view: str) -> None:
    with Claimant(connection, view) as one:
        put_table(connection, VIEWS, f"writer.{view}.0/1".encode(), None)
        assert one.ended.wait(PATIENCE_S)
        assert "its claim is gone from topic views" in one.reason


def test_copies_overlap_when_a_partition_is_of_both() -> None:
    for n in range(1, 7):
        for m in range(1, 7):
            for i in range(n):
                for j in range(m):
                    both = any(p % n == i and p % m == j for p in range(60))
                    assert overlap(f"{i}/{n}", f"{j}/{m}") == both
