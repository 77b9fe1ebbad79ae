"""The spool on a real disk: order, bounds, torn blocks, one process at a time."""

import os
import stat
from pathlib import Path

import pytest

from assets.batch import Outgoing
from assets.condition import Refused
from sinks._spool import Block, Checkpoint, Spool

MOST = 1 << 18


def block(n: int, size: int = 100, partition: int = 3) -> Block:
    headers = [("reason", b"x")] if n % 2 else None
    return Block("asset-stream", partition, [Outgoing(partition, b"a", b"%d" % n + b"." * size, str(n), headers)])


def values(spool: Spool) -> list[int]:
    return [int(b.records[0].value.rstrip(b".")) for b in spool.pending() if b.records[0].value]


def test_blocks_come_back_as_they_were_in_order_also_in_the_next_process(tmp_path: Path) -> None:
    for first in (0, 500):
        spool = Spool(tmp_path, MOST)
        assert [spool.append(block(n, 1_000)) for n in range(first, first + 500)] == list(range(first, first + 500))
        spool.close()
    spool = Spool(tmp_path, MOST)
    assert values(spool) == list(range(1_000))
    assert spool.read(77) == (77, block(77, 1_000))
    assert spool.read(1_000) is None
    assert spool.segments > 2


def test_what_kafka_has_by_partition_is_not_pending(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MOST)
    for n in range(10):
        spool.append(block(n, partition=n % 2))
    spool.save(Checkpoint(1, {"asset-stream/0": (7, 100), "asset-stream/1": (2, 50)}))
    spool.close()
    assert values(Spool(tmp_path, MOST)) == [3, 5, 7, 8, 9]


def test_segments_that_kafka_has_are_deleted_and_make_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MOST)
    while not spool.full:
        spool.append(block(spool.next, 1_000))
    fullness = []
    for part in (20, 4):
        spool.release(spool.next // part)
        fullness.append(spool.full)
    assert fullness == [True, False]
    spool.release(spool.next)
    assert len(list(tmp_path.glob("*.blocks"))) == spool.segments == 1
    assert spool.size == sum(path.stat().st_size for path in tmp_path.glob("*.blocks"))


def test_a_checkpoint_ahead_of_what_a_power_cut_has_left_stops_nobody(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MOST)
    for n in range(5):
        spool.append(block(n))
    spool.save(Checkpoint(1, {"asset-stream/3": (5, 5)}))
    spool.close()
    (file,) = tmp_path.glob("*.blocks")
    file.write_bytes(file.read_bytes()[:-20])
    spool = Spool(tmp_path, MOST)
    assert values(spool) == []
    spool.append(block(7))
    assert values(spool) == [7]


@pytest.mark.parametrize("damage", ["cut", "spoiled"])
def test_a_torn_block_is_cut_off_and_the_rest_stays(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path, MOST)
    for n in range(5):
        spool.append(block(n))
    spool.close()
    [path] = tmp_path.glob("*.blocks")
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] if damage == "cut" else whole[:-3] + b"\0\0\0")
    spool = Spool(tmp_path, MOST)
    assert values(spool) == [0, 1, 2, 3]
    assert "the machine ended while they were written" in caplog.text
    spool.append(block(9))
    assert values(spool) == [0, 1, 2, 3, 9]


def test_positions_go_on_when_everything_was_deleted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MOST)
    for n in range(5):
        spool.append(block(n))
    spool.save(Checkpoint(1, {"asset-stream/3": (5, 100)}))
    spool.close()
    for path in tmp_path.glob("*.blocks"):
        path.unlink()
    assert Spool(tmp_path, MOST).append(block(5)) == 5


def test_a_checkpoint_that_cannot_be_read_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "checkpoint.json").write_text("{")
    assert Spool(tmp_path, MOST).checkpoint == Checkpoint()
    assert "what Kafka has is found out from Kafka" in caplog.text


def test_the_name_of_a_segment_is_durable_as_soon_as_its_blocks_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(handle).st_mode))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    spool = Spool(tmp_path, MOST)
    for _ in range(2):
        spool.append(block(0))
        spool.sync()
    assert synced == [False, True, False]


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MOST)
    with pytest.raises(Refused, match="another process uses it"):
        Spool(tmp_path, MOST)
    spool.close()
    Spool(tmp_path, MOST)
