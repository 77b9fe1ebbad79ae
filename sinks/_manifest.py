"""The manifest of an archived topic: which files belong to it, range after range, one append-only file per partition.

A line is one half-open range of offsets, written after its files are durable; a range may have no file (ticks only).
Readers use the manifest and never a glob: what it does not name is not published. A torn last line is no line.
"""

import fcntl
import logging
import mmap
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import msgspec

from assets.errors import DISK_FULL
from sinks._wait import Patience, Stopping

log = logging.getLogger(__name__)


class Part(msgspec.Struct, frozen=True):
    """One file of a range: rows of one event date; `path` is relative to the topic's folder."""

    path: str
    date: str
    rows: int


class Range(msgspec.Struct, frozen=True):
    """Offsets `first` .. `next`-1 of a partition and the files that hold their rows."""

    first: int
    next: int
    rows: int
    schema: int
    files: tuple[Part, ...]


class ManifestError(RuntimeError):
    """A manifest that does not fit; the message says what to do."""


class Manifest:
    """The published ranges of one partition."""

    def __init__(self, folder: Path, partition: int, stop: Stopping) -> None:
        self.path = folder / "manifest" / f"p{partition:05}.jsonl"
        self._file = AppendFile(self.path, stop)
        lines = list(_lines(self.path))
        self._file.truncate(sum(len(line) for line in lines))
        ranges = [msgspec.json.decode(line, type=Range) for line in lines]
        for before, after in pairwise(ranges):
            if before.next != after.first:
                raise ManifestError(f'manifest "{self.path}" has no range {before.next} .. {after.first - 1}')
        self.next = ranges[-1].next if ranges else None
        self.files = {part.path for one in ranges for part in one.files}

    def publish(self, published: Range) -> None:
        """Make a range part of the archive, durably."""
        self._file.append(msgspec.json.encode(published) + b"\n")
        self._file.sync()
        self.next = published.next
        self.files.update(part.path for part in published.files)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def published(folder: Path) -> Iterator[Range]:
    """All published ranges of a topic's folder, partition by partition, in order."""
    for path in sorted((folder / "manifest").glob("p*.jsonl")):
        for line in _lines(path):
            yield msgspec.json.decode(line, type=Range)


def _lines(path: Path) -> Iterator[bytes]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


class AppendFile:
    """A file that grows: what a failed write left behind its end is overwritten by the next one."""

    def __init__(self, path: Path, stop: Stopping) -> None:
        self.path = path
        self._stop = stop
        while_full(self._open, path, stop)
        self._lock()
        self.size = os.fstat(self._handle).st_size
        self.checksum = 0
        """Of everything written since the last `truncate`, and of what that left."""
        sync_folder(path.parent)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)

    def _lock(self) -> None:
        """Keep all other processes out as long as the file is open."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise ManifestError(
                f'could not write "{self.path}": another process writes it; run one archive per partition and folder'
            ) from None

    def append(self, data: bytes) -> None:
        """Write at the end; waits while the disk is full."""
        while_full(lambda: self._write(data), self.path, self._stop)
        self.size += len(data)
        self.checksum = crc32(data, self.checksum)

    def _write(self, data: bytes) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._handle, memoryview(data)[done:], self.size + done)

    def read(self) -> mmap.mmap:
        """Everything written so far, mapped into memory."""
        return mmap.mmap(self._handle, self.size, access=mmap.ACCESS_READ)

    def truncate(self, size: int) -> None:
        """Forget everything from byte `size` on."""
        os.ftruncate(self._handle, size)
        self.size, self.checksum = size, self.checksum_of(size)

    def checksum_of(self, size: int) -> int:
        """The checksum of the first `size` bytes."""
        if not size:
            return 0
        with mmap.mmap(self._handle, size, access=mmap.ACCESS_READ) as content:
            return crc32(content)

    def sync(self) -> None:
        """Make what was written durable."""
        while_full(lambda: os.fsync(self._handle), self.path, self._stop)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def while_full(action: Callable[[], None], path: Path, stop: Stopping) -> None:
    """Do something that needs space on the disk; wait for space as long as there is none."""
    patience = Patience(stop, f'write "{path}": the disk is full')
    waiting = False
    while True:
        try:
            action()
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            if not waiting:
                log.error(  # noqa: TRY400 - a full disk needs no traceback
                    'could not write "%s": the disk is full; waiting for space, nothing is lost', path
                )
            waiting = True
            patience.wait()
        else:
            if waiting:
                log.warning('wrote "%s": there is space again', path)
            return


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
