"""How far back the stream was searched for each source of a gateway: what one copy searched, no copy searches again.

A source of which a start finds nothing near may have been read by a copy that has been away for long, so it is looked
for further back. One that nothing was ever said of would be looked for to the beginning of the stream at every start.
"""

import logging
from collections.abc import Collection
from pathlib import Path

import msgspec

from assets.errors import DISK_FULL
from operators._tails import Tails

log = logging.getLogger(__name__)


class Searched:
    """Per source an instant (Kafka's clock, us) before which the stream need not be searched for it."""

    def __init__(self, path: Path, sources: Collection[str], newest: int) -> None:
        """`newest` is the end of the stream: before it stands nothing of a source that no start has named so far.

        Without the file this may be any gateway's disk, so anything may stand on the stream.
        """
        self._path = path
        self._newest = newest
        known = _read(path)
        self._since = dict.fromkeys(sources, 0 if known is None else newest) | (known or {})
        if self._since != known:
            self._save()

    def since(self, sources: Collection[str]) -> int:
        """How far back a search for these sources goes at most."""
        return min((self._since[source] for source in sources), default=self._newest)

    def note(self, found: Tails, reached: int) -> None:
        """Remember a search from the stream's end back to `reached`: what it did not find is not before that end."""
        for source, since in self._since.items():
            if since >= reached and not found.heard(source):
                self._since[source] = self._newest
        self._save()

    def _save(self) -> None:
        beside = self._path.with_suffix(".tmp")
        try:
            beside.write_bytes(msgspec.json.encode(self._since))
            beside.replace(self._path)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            self._path.unlink(missing_ok=True)  # a file without a source that is read now would call it new later


def _read(path: Path) -> dict[str, int] | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        log.warning('could not read "%s": %s; the stream is searched again', path, error)
        return None
