"""Problems of a plant folder, collected so that one message tells all of them."""

import difflib
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from assets.errors import PlantError

Path = tuple[str, ...]
"""Where something stands, in the words of its writer: ("assets", "press-01", "items", "speed")."""

_CREDENTIALS = re.compile(r"//[^/@\s\"']*@")


class Place(NamedTuple):
    """A line of a file of the plant folder (line 0: the file as a whole)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Problems:
    """Everything found so far; `locate` gives the place of a path."""

    def __init__(self, folder: str, locate: Callable[[Path], Place]) -> None:
        self._folder = folder
        self._locate = locate
        self._found: dict[tuple[Place, str], None] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, path: Path, text: str) -> None:
        """Note a problem with what stands at `path`."""
        self.add_at(self._locate(path), f"{'.'.join(path)}: {text}")

    def add_at(self, place: Place, text: str) -> None:
        """Note a problem of a line; the same problem of the same line counts once."""
        self._found[place, _CREDENTIALS.sub("//***@", text)] = None

    def raise_if_any(self) -> None:
        """Raise `PlantError` with all problems, in the order of files and lines."""
        if not self._found:
            return
        found = sorted(self._found, key=lambda problem: problem[0])
        width = max(len(str(place)) for place, _ in found)
        lines = [f"  {place!s:{width}} {text}" for place, text in found]
        number = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
        raise PlantError("\n".join([f"{self._folder} has {number}", *lines]))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def suggestion(word: str, known: Iterable[str], what: str) -> str:
    """The end of a sentence that helps with a word nobody knows; `what` names the known ones in the plural."""
    known = sorted(known)
    if meant := nearest(word, known):
        return f'; did you mean "{meant}"?'
    if not known:
        return f"; there are no {what}"
    if len(known) > 12:
        return f"; it is none of the {len(known)} {what}"
    return f"; known {what} are {', '.join(known)}"
