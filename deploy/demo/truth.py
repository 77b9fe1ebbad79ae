"""The ground truth: one JSON line per true event, with UTC instants in integer microseconds.

kind        fields
start       seed, at, scan_us                        once, first
state       asset, item, value, at                   a state of the machine itself, by name
crossing    asset, item, limit, direction, value, at the true continuous value went over (up) or under (down) a limit
count       asset, item, total, at                   parts really made, ever growing
served      source, asset, item, value, status, source_time, at    what an OPC UA server told from `at` on
register    source, asset, item, value, at           what a Modbus poll finds from `at` on, in engineering units
fault       fault, target, from, to                  `to` is null at the begin; the whole line follows at the end
end         at                                       once, last
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

Line = dict[str, Any]


class Truth:
    """The file being written; a reader sees whole lines after each `flush`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("w", encoding="utf-8")

    def write(self, kind: str, **fields: object) -> None:
        """Add one line."""
        self._file.write(json.dumps({"kind": kind, **fields}, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        """Let readers see what was written."""
        self._file.flush()

    def close(self) -> None:
        """Write the rest."""
        self._file.close()


def read(path: Path) -> list[Line]:
    """The complete lines of a truth file; a line still being written is left out."""
    with path.open(encoding="utf-8") as file:
        return list(parse(line for line in file if line.endswith("\n")))


def parse(lines: Iterable[str | Line]) -> Iterator[Line]:
    """Lines as dictionaries, whether they still are text or not."""
    return (json.loads(line) if isinstance(line, str) else line for line in lines)
