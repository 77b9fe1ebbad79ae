"""What devices say before the flow can take it: kept on the disk, in order, up to a bound.

All sources were asked in rounds, and are read back in these rounds: if one were minutes ahead of the others in its own
time, they would look silent behind the stream.

The file has no name: it ends with the process. What is lost with it was never published, so that the next run's `_gap`
tells of it.
"""

import logging
import os
import pickle
import tempfile
import threading
from collections import deque
from pathlib import Path
from time import monotonic
from typing import Final

from assets.reading import Message

log = logging.getLogger(__name__)

LEAVE_AFTER_S: Final = 3.0
"""How long a stop lets what was read before the flow ran go through it."""
_Place = tuple[int, int] | list[Message]
"""Where a batch stands in the file, with its length; or the batch itself."""


class Backlog:
    """Messages of all sources; written by one thread, then read by others."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it stays open as long as we do
        self._most_bytes = most_bytes
        self._size = 0
        self._refused = False
        self._places: dict[str, deque[tuple[int, _Place]]] = {}
        self._waiting: dict[int, int] = {}  # by round, the oldest first: how many batches were not taken yet
        self._lock = threading.Lock()
        self._leave_at: float | None = None
        self._left = False

    @property
    def full(self) -> bool:
        """Whether the bound is reached or the disk has no space: what comes now should be dropped, and counted."""
        return self._refused or self._size >= self._most_bytes

    @property
    def empty(self) -> bool:
        """Whether all was taken."""
        return not self._waiting

    def left(self, full: bool) -> bool:
        """After a stop was asked for: whether the rest stays, for want of room or time; so it is for all sources then.

        Nothing may be taken after that, because nobody would wait for it.
        """
        with self._lock:
            if self._leave_at is None:
                self._leave_at = monotonic() + LEAVE_AFTER_S
            if self._waiting and not self._left and (full or monotonic() >= self._leave_at):
                self._left = True
                log.warning(
                    "%d batches that were read before Kafka answered are not published before the stop; "
                    "the `_gap` of the next start covers their time",
                    sum(self._waiting.values()),
                )
            return self._left

    def put(self, source: str, messages: list[Message], turn: int) -> None:
        """Keep what a source said in a round (they count up); what a full disk does not take stays in memory."""
        data = pickle.dumps(messages, pickle.HIGHEST_PROTOCOL)
        place: _Place = self._size, len(data)
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._file.fileno(), data[done:], self._size + done)
            self._size += len(data)
        except OSError:
            self._refused, place = True, messages
        with self._lock:
            self._places.setdefault(source, deque()).append((turn, place))
            self._waiting[turn] = self._waiting.get(turn, 0) + 1

    def take(self, source: str) -> list[Message]:
        """What a source said in the oldest round, unless it was taken; the file goes when nobody's are left."""
        with self._lock:
            places = self._places.get(source)
            oldest = next(iter(self._waiting), 0)
            if self._left or not places or places[0][0] > oldest:
                return []
            taken = self._read(places.popleft()[1])
            self._waiting[oldest] -= 1
            if not self._waiting[oldest]:
                del self._waiting[oldest]
            if not self._waiting:
                os.ftruncate(self._file.fileno(), 0)
            return taken

    def _read(self, place: "_Place") -> list[Message]:
        if isinstance(place, list):
            return place
        start, size = place
        taken: list[Message] = pickle.loads(os.pread(self._file.fileno(), size, start))  # noqa: S301 - our own
        return taken
