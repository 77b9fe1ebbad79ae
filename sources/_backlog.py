"""What devices say before the flow can take it: kept on the disk, in order per source, up to a bound.

The file has no name: it ends with the process. What is lost with it was never published, so that the next run's `_gap`
tells of it.
"""

import os
import pickle
import tempfile
import threading
from collections import deque
from pathlib import Path

from assets.reading import Message


class Backlog:
    """Messages of all sources; written by one thread, then read by others."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it stays open as long as we do
        self._most_bytes = most_bytes
        self._size = 0
        self._refused = False
        self._places: dict[str, deque[tuple[int, int] | list[Message]]] = {}
        self._lock = threading.Lock()

    @property
    def full(self) -> bool:
        """Whether the bound is reached or the disk has no space: what comes now should be dropped, and counted."""
        return self._refused or self._size >= self._most_bytes

    def put(self, source: str, messages: list[Message]) -> None:
        """Keep what came next of a source; what a full disk does not take stays in memory, and is the last."""
        data = pickle.dumps(messages, pickle.HIGHEST_PROTOCOL)
        place: tuple[int, int] | list[Message] = (self._size, len(data))
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._file.fileno(), data[done:], self._size + done)
            self._size += len(data)
        except OSError:
            self._refused, place = True, messages
        with self._lock:
            self._places.setdefault(source, deque()).append(place)

    def take(self, source: str) -> list[Message] | None:
        """The oldest messages of a source that were not taken yet; the file goes when nobody's are left."""
        with self._lock:
            places = self._places.get(source)
            if not places:
                return None
            place = places.popleft()
            if isinstance(place, list):
                return place
            start, size = place
            taken: list[Message] = pickle.loads(os.pread(self._file.fileno(), size, start))  # noqa: S301 - our own
            if not any(self._places.values()):
                os.ftruncate(self._file.fileno(), 0)
            return taken
