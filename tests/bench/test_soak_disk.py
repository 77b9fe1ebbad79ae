"""The soak's disk: full when it is told so, roomy again, and what lay on it is kept."""

import errno
from pathlib import Path

import pytest

from bench.soak_disk import Disk, release


def test_a_disk_is_full_and_has_room_again_and_leaves_what_it_held(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    with Disk(folder) as disk:
        if disk.why_not:
            pytest.skip(f"a disk cannot be mounted here: {disk.why_not}")
        (folder / "kept").write_bytes(bytes(5_000))
        disk.fill()
        with pytest.raises(OSError, match="No space left") as full:
            (folder / "more").write_bytes(bytes(100_000))
        assert full.value.errno == errno.ENOSPC
        disk.empty()
        (folder / "more").write_bytes(bytes(100_000))
    assert not folder.is_mount()
    assert sorted(file.name for file in folder.iterdir()) == ["kept", "more"]


def test_a_folder_that_is_no_disk_is_left_alone(tmp_path: Path) -> None:
    release(tmp_path)
    assert tmp_path.exists()
