"""What stands for something else: ranges of names, `{n}`, and `${env:NAME}`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from assets._folder import Folder
from assets._problems import Path, nearest
from assets.names import check_id

MOST_NAMES: Final = 100_000
PLACEHOLDERS: Final = ("item", "asset", "n")

_RANGE = re.compile(r"([^{}]*)\{(\d+)\.\.(\d+)\}([^{}]*)")
_ENV_FORM = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]*)\}")


class Entry(NamedTuple):
    """One source or asset: `path` as it is written, its name and number in the range, its options."""

    path: Path
    name: str
    n: str | None
    options: Any


def range_names(written: str) -> list[tuple[str, str | None]]:
    """The names that a key stands for, each with its number; raises ValueError.

    >>> range_names("meter-{08..10}")
    [('meter-08', '08'), ('meter-09', '09'), ('meter-10', '10')]
    >>> range_names("oven")
    [('oven', None)]
    """
    match = _RANGE.fullmatch(written)
    if match is None:
        if "{" in written:
            raise ValueError("expected one range of numbers such as {01..40}")
        return [(written, None)]
    before, first, last, after = match.groups()
    if not int(first) <= int(last) < int(first) + MOST_NAMES:
        raise ValueError(f"expected a range that goes up, of at most {MOST_NAMES} names")
    numbers = (f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1))
    return [(f"{before}{n}{after}", n) for n in numbers]


def no_number(name: str) -> str:
    """What is wrong with `{n}` where there is no range."""
    return f'{{n}} stands for the number in a range of names; "{name}" has none'


def fill_template(template: str, item: str, entry: Entry) -> str:
    """The address of an item; raises ValueError for a placeholder that has no meaning or is misspelt.

    Other braces stay: they may be part of a node id.
    """
    if "{" not in template:
        return template
    filled = template.replace("{item}", item).replace("{asset}", entry.name)
    if "{n}" in filled:
        if entry.n is None:
            raise ValueError(no_number(entry.name))
        filled = filled.replace("{n}", entry.n)
    for name in _PLACEHOLDER.findall(filled):
        if meant := nearest(name.lower(), PLACEHOLDERS):
            raise ValueError(f'{{{name}}} is unknown; did you mean "{{{meant}}}"?')
    return filled


class Expander:
    """Puts numbers and variables where the files refer to them."""

    def __init__(self, folder: Folder, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._problems = folder.problems
        self._environment = environment

    def entries(self, section: str) -> Iterator[list[Entry]]:
        """All entries of a section; what one key stands for comes together."""
        seen: dict[str, Path] = {}
        for written, options in self._folder.sections[section].items():
            path = (section, written)
            names = self._names(path)
            for name, _ in names:
                if name in seen:
                    self._problems.add(path, f'"{name}" is defined twice; the first is at {self._at(seen[name])}')
                seen[name] = path
            yield [Entry(path, name, n, self.fill(options, path, n)) for name, n in names]

    def fill(self, value: Any, path: Path, n: str | None) -> Any:
        """`value` with all its references replaced; those without an answer are problems."""
        if isinstance(value, dict):
            return {key: self.fill(child, (*path, key), n) for key, child in value.items()}
        if isinstance(value, list):
            return [self.fill(child, (*path, str(i)), n) for i, child in enumerate(value)]
        if not isinstance(value, str) or "{" not in value:
            return value
        if n is not None:
            value = value.replace("{n}", n)
        elif "{n}" in value and path[0] != "types":
            self._problems.add(path, no_number(path[1]))
        return self._environ(value, path) if "${" in value else value

    def _at(self, path: Path) -> str:
        return str(self._folder.locate(path))

    def _names(self, path: Path) -> list[tuple[str, str | None]]:
        try:
            names = range_names(path[1])
            check_id(names[0][0])
        except ValueError as error:
            self._problems.add(path, str(error))
            return []
        return names

    def _environ(self, text: str, path: Path) -> str:
        if text.count("${") != len(_ENV_FORM.findall(text)):
            self._problems.add(path, "expected ${env:NAME} or ${env:NAME:-default}")
            return text
        return _ENV_FORM.sub(lambda match: self._variable(match, path), text)

    def _variable(self, match: re.Match[str], path: Path) -> str:
        name, default = match.groups()
        value = self._environment.get(name)
        if default is not None:
            return value or str(default)
        if value is None:
            self._problems.add(path, f"needs the environment variable {name}, which is not set")
            return match[0]
        return value
