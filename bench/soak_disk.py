"""A disk of its own for the archive, in memory, that can be made full and roomy again; where mounting is allowed."""

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

ROOM_BYTES: Final = 1 << 30
FULL_ATTEMPTS: Final = 20
"""The archive may grow between the question how much is used and the order that this is all there is."""


class Disk:
    """Mounted at a folder for as long as it is entered; what lies on it then stays in the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.why_not = ""
        """Why it could not be mounted: then the folder is an ordinary one."""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.why_not = _mount("-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "tmpfs", str(self.folder))
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if not self.why_not:
            kept = self.folder.with_name(f"{self.folder.name}-kept")
            shutil.copytree(self.folder, kept)
            release(self.folder)
            self.folder.rmdir()
            kept.rename(self.folder)

    def fill(self) -> None:
        """Leave no space."""
        for _ in range(FULL_ATTEMPTS):
            found = os.statvfs(self.folder)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            problem = _mount("-o", f"remount,size={max(used, found.f_frsize)}", str(self.folder))
            if not problem:
                return
        raise OSError(f'could not fill the disk at "{self.folder}": {problem}')

    def empty(self) -> None:
        """Give it space again."""
        if problem := _mount("-o", f"remount,size={ROOM_BYTES}", str(self.folder)):
            raise OSError(f'could not give the disk at "{self.folder}" space again: {problem}')


def release(folder: Path) -> None:
    """Unmount what is mounted at a folder; nothing if nothing is."""
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def _mount(*arguments: str) -> str:
    """What `mount` complains of; empty if it does not."""
    if shutil.which("mount") is None:
        return "there is no program mount"
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
