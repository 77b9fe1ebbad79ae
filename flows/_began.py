"""Since when each source is read that nothing stands on the stream of: a first run may be killed before Kafka answers.

A small file per source, beside the spools, which all copies share. Once something of the source stands on the stream
that tells more, and the file goes.
"""

import logging
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from urllib.parse import quote

from assets.errors import DISK_FULL

log = logging.getLogger(__name__)


class Began:
    """The first time (us) that each source of a gateway was read, as its starts have noted it."""

    def __init__(self, folder: Path, gateway: str) -> None:
        self._folder = folder / f"{gateway}.began"

    def note(self, sources: Iterable[str], at: int) -> dict[str, int]:
        """Note that these sources are read from now on; returns what earlier starts have noted."""
        earlier = {}
        self._folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            known = _read(self._path(source))
            if known is None:
                self._write(self._path(source), at)
            else:
                earlier[source] = known
        _sync(self._folder)
        return earlier

    def forget(self, heard: Iterable[str], plant: Collection[str]) -> None:
        """The stream tells of these sources, and all that the plant does not have are read no more."""
        named = {quote(source, safe="") for source in plant}
        gone = {path for path in self._folder.iterdir() if path.name not in named}
        for path in gone | {self._path(source) for source in heard}:
            path.unlink(missing_ok=True)

    def _path(self, source: str) -> Path:
        return self._folder / quote(source, safe="")

    def _write(self, path: Path, at: int) -> None:
        try:
            with path.open("w") as file:
                file.write(f"{at}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            log.warning('could not write "%s": %s; a kill before Kafka answers would leave no gap', path, error)


def _read(path: Path) -> int | None:
    """None: there is none, or a full disk or the end of the machine left half of it."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") and text.strip().isdecimal() else None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
