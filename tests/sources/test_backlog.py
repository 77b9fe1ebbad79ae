"""What is kept on the disk until the flow can take it."""

import errno
import os
from pathlib import Path

import pytest

from assets.reading import Gap, Link, Mark, Message, Reading, Readings
from sources._backlog import Backlog

SAID: list[Message] = [
    Link(1, True),
    Readings(2, [Reading("a", 1 << 70, 0, 3, 4), Reading("b", {"x": [b"\0", None, 1.5]})], clock=5),
    Gap(["a"], 1, 2, "why", 3, {"a": 3}),
    Mark(6, True, 2, 3),
]


def test_messages_come_back_as_they_were_by_source_and_in_rounds(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, 1 << 20)
    backlog.put("s", SAID[:2], 1)
    backlog.put("t", SAID[1:], 1)
    backlog.put("s", SAID[2:], 3)
    assert [backlog.take("s"), backlog.take("s"), backlog.empty] == [SAID[:2], [], False], "the round is not over"
    assert [backlog.take("t"), backlog.take("t"), backlog.take("u")] == [SAID[1:], [], []]
    assert [backlog.take("s"), backlog.take("s"), backlog.empty] == [SAID[2:], [], True]


def test_no_file_is_left_behind(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, 1 << 20)
    backlog.put("s", SAID, 1)
    assert list(tmp_path.iterdir()) == []


def test_it_is_full_at_its_bound_and_takes_what_is_under_way(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, 100)
    before = backlog.full
    backlog.put("s", SAID, 1)
    assert (before, backlog.full) == (False, True)
    backlog.put("s", SAID[:1], 2)
    assert [backlog.take("s"), backlog.take("s")] == [SAID, SAID[:1]]


def test_what_a_full_disk_does_not_take_is_kept_and_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    backlog = Backlog(tmp_path, 1 << 20)
    monkeypatch.setattr(os, "pwrite", no_space)
    backlog.put("s", SAID, 1)
    assert backlog.full
    assert backlog.take("s") == SAID
