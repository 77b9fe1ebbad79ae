"""What is said while a disk is full."""

import logging
from pathlib import Path

import pytest

from sinks._wait import CALM_S, DiskSpace


def test_a_disk_that_is_nearly_full_is_full_until_it_has_taken_all_for_some_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr("sinks._wait.time.monotonic", lambda: now)
    disk = DiskSpace(logging.getLogger("test"), Path("spool"))
    disk.taken()
    for now in (1.0, 2.0, 3.0):  # noqa: B007 - the clock reads it
        disk.refused()
        disk.taken()
    assert len(caplog.messages) == 1
    now = 3.0 + CALM_S
    disk.taken()
    disk.taken()
    assert caplog.messages == [
        'could not write spool "spool": the disk is full; ingest now waits for Kafka',
        'spool "spool": there is space on the disk again',
    ]
    disk.refused()
    assert len(caplog.messages) == 3
