"""Excerpts: blocks of pages that are copied from files of the project, so that they are what the tests run.

A comment before the block names the file, where the excerpt begins and, if it is not the end, before what it ends:

    <!-- excerpt: flows/derive.py | def build -->
"""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_EXCERPT: Final = re.compile(
    r"<!-- excerpt: ([^|\n]+?)(?: \| ([^|\n]+?))?(?: \| ([^|\n]+?))? -->\n```(\w*)\n.*?^```$", re.DOTALL | re.MULTILINE
)


def pages() -> list[Path]:
    """All pages that people write."""
    return sorted([ROOT / "README.md", *(p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "reference")])


def refreshed(text: str) -> str:
    """The page with its excerpts as the files are now."""
    return _EXCERPT.sub(_block, text)


def _block(match: re.Match[str]) -> str:
    path, begin, end, language = match.groups()
    comment = match[0].partition("\n")[0]
    return f"{comment}\n```{language}\n{excerpt(path, begin, end)}\n```"


def excerpt(path: str, begin: str | None, end: str | None) -> str:
    """The lines of a file from the first one that starts with `begin` until before the next that starts with `end`."""
    lines = (ROOT / path).read_text().splitlines()
    first = 0 if begin is None else _line(path, lines, begin, 0)
    last = len(lines) if end is None else _line(path, lines, end, first + 1)
    return "\n".join(lines[first:last]).strip("\n")


def _line(path: str, lines: list[str], start: str, after: int) -> int:
    for number in range(after, len(lines)):
        if lines[number].startswith(start):
            return number
    raise ValueError(
        f'could not find the excerpt of {path}: no line starts with "{start}"; change the comment in the page'
    )
