"""Blocks of records on disk that Kafka may not have yet, in numbered segments of one folder; files only, no Kafka.

A block is what one write brought for one partition. Its position counts 0, 1, 2, ... over all processes that have used
the folder. A block is in the page cache when `append` returns, so it survives the end of the process; `sync` makes it
survive the end of the machine. A torn block (the machine ended while it was written) is cut off.
"""

import fcntl
import logging
import os
import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from assets.batch import Outgoing
from assets.condition import Refused
from sinks._manifest import sync_folder

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = (1 << 14, 1 << 24)
"""Least and most bytes of a segment: the unit in which space becomes free."""
SEGMENTS: Final = 16
"""A full spool has at least so many segments."""
_HEADER: Final = struct.Struct("<II")  # length and CRC-32 of the block behind it
_SUFFIX: Final = ".blocks"


class Block(msgspec.Struct, array_like=True, gc=False):
    """Records of one partition of a topic, in order."""

    topic: str
    partition: int
    records: list[Outgoing]


class Checkpoint(msgspec.Struct):
    """What Kafka is known to have: per `topic/partition` all blocks before a position, and the offset after them.

    `at` is Kafka's clock (us) at the newest acknowledged record. It may be older than the truth, never newer.
    """

    at: int = 0
    parts: dict[str, tuple[int, int]] = {}


class Spool:
    """The blocks of one folder; used by one process at a time."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.most_bytes = most_bytes
        self._lock = _locked(folder)
        self._segment_bytes = min(max(most_bytes // SEGMENTS, SEGMENT_BYTES[0]), SEGMENT_BYTES[1])
        self.checkpoint = _read_checkpoint(folder / "checkpoint.json")
        found = [_Segment(path) for path in sorted(folder.glob(f"*{_SUFFIX}"))]
        for empty in (segment for segment in found if not segment.size):
            empty.delete()
        self._segments = [segment for segment in found if segment.size]
        known = [position for position, _ in self.checkpoint.parts.values()]
        self.next = max([*known, *(s.next for s in self._segments)], default=0)
        self.size = sum(s.size for s in self._segments)
        self._full = False
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Block).decode
        self._segments.append(_Segment(folder / f"{self.next:020}{_SUFFIX}"))

    @property
    def first(self) -> int:
        """The position of the oldest block."""
        return self._segments[0].first

    @property
    def segments(self) -> int:
        """How many files there are."""
        return len(self._segments)

    @property
    def full(self) -> bool:
        """Whether the bound is reached; there is room again when an eighth of it is free."""
        full = self.size >= (self.most_bytes - self.most_bytes // 8 if self._full else self.most_bytes)
        if full != self._full:
            self._full = full
            what = "has room again" if not full else "is full: what is read is dropped and counted until there is room"
            log.warning('spool "%s" of %d bytes %s', self.folder, self.most_bytes, what)
        return full

    @property
    def oldest_at(self) -> int:
        """When (us, this machine's clock) the oldest segment was written last; 0: there is none."""
        return self._segments[0].written_at if self._segments[0].size else 0

    def append(self, block: Block) -> int:
        """Write a block behind the others; returns its position. A full disk is an OSError and leaves no trace."""
        last = self._segments[-1]
        if last.size >= self._segment_bytes:
            last = _Segment(self.folder / f"{self.next:020}{_SUFFIX}")
            self._segments.append(last)
        payload = self._encode(block)
        self.size += last.append(_HEADER.pack(len(payload), zlib.crc32(payload)) + payload)
        self.next += 1
        return self.next - 1

    def read(self, position: int) -> tuple[int, Block] | None:
        """The first block at or after a position, and where it stands."""
        index = bisect_right(self._segments, position, key=lambda segment: segment.first) - 1
        for segment in self._segments[max(index, 0) :]:
            position = max(position, segment.first)  # a power cut may have taken what the checkpoint has behind it
            if position < segment.next:
                return position, self._decode(segment.read(position)[_HEADER.size :])
        return None

    def pending(self) -> Iterator[Block]:
        """What an earlier process left here and Kafka is not known to have, in order."""
        position = self.first
        while found := self.read(position):
            position, block = found
            if position >= self.acknowledged(block):
                yield block
            position += 1

    def acknowledged(self, block: Block) -> int:
        """Before which position all blocks of the same partition were acknowledged, by the checkpoint."""
        return self.checkpoint.parts.get(part_name(block), (0, 0))[0]

    def release(self, position: int) -> None:
        """Delete the segments that end before a position; the one that is written to stays."""
        while len(self._segments) > 1 and self._segments[0].next <= position:
            self.size -= self._segments[0].size
            self._segments.pop(0).delete()

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep what Kafka has."""
        self.checkpoint = checkpoint
        path = self.folder / "checkpoint.json"
        beside = path.with_suffix(".tmp")
        beside.write_bytes(msgspec.json.encode(checkpoint))
        beside.replace(path)

    def sync(self) -> None:
        """Make all blocks durable."""
        for segment in self._segments:
            segment.sync()

    def close(self) -> None:
        """Leave the folder to another process."""
        for segment in self._segments:
            segment.close()
        self._lock.close()


class _Segment:
    """One file of blocks; `first` is the position of its first block and stands in its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = int(path.stem)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._ends = array("Q", _ends(self._handle))
        self.size = self._ends[-1] if self._ends else 0
        self._synced = 0
        if torn := os.fstat(self._handle).st_size - self.size:
            log.warning('cut %d bytes off "%s": the machine ended while they were written', torn, path)
            os.ftruncate(self._handle, self.size)

    @property
    def next(self) -> int:
        return self.first + len(self._ends)

    @property
    def written_at(self) -> int:
        return os.fstat(self._handle).st_mtime_ns // 1_000

    def append(self, data: bytes) -> int:
        done = 0
        while done < len(data):  # what a failed write leaves behind the end is overwritten by the next one
            done += os.pwrite(self._handle, memoryview(data)[done:] if done else data, self.size + done)
        self.size += done
        self._ends.append(self.size)
        return done

    def read(self, position: int) -> bytes:
        index = position - self.first
        start = self._ends[index - 1] if index else 0
        return os.pread(self._handle, self._ends[index] - start, start)

    def sync(self) -> None:
        if self._synced < self.size:
            os.fsync(self._handle)
            if not self._synced:
                sync_folder(self.path.parent)  # else the end of the machine could take the file's name
            self._synced = self.size

    def delete(self) -> None:
        self.close()
        self.path.unlink()

    def close(self) -> None:
        os.close(self._handle)


def part_name(block: Block) -> str:
    """How a checkpoint names a partition of a topic."""
    return f"{block.topic}/{block.partition}"


def _ends(handle: int) -> Iterator[int]:
    """Where each whole block of a file ends."""
    at, size = 0, os.fstat(handle).st_size
    while at + _HEADER.size <= size:
        length, checksum = _HEADER.unpack(os.pread(handle, _HEADER.size, at))
        at += _HEADER.size + length
        if not length or at > size or zlib.crc32(os.pread(handle, length, at - length)) != checksum:
            return
        yield at


def _locked(folder: Path) -> IO[str]:
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise Refused(
            f'could not use spool "{folder}": another process uses it; give each ingest process a name of its own '
            "(PENSTOCK_GATEWAY), or end the other one"
        ) from None
    return lock


def _read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint; without one that can be read, nothing is known."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError:
        return Checkpoint()
    except msgspec.MsgspecError as error:
        log.warning('could not read "%s": %s; what Kafka has is found out from Kafka', path, error)
        return Checkpoint()
