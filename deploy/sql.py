"""Analysts' door: DuckDB on the live archive, with its views, for one query or as a prompt."""

import json
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from replay.archive import connect

ROWS_SHOWN: Final = 200
CONTINUED: Final = "...> "


def main(console: Console, query: str, data: Path) -> int:
    """Run one query, or read queries from a prompt until its end; 1 if the one query failed."""
    root = archive(data)
    if not root.exists():
        console.print(f"there is no archive in {root} yet; `python3 -m deploy demo` or `flow archive` writes one")
        return 1
    with connect(root) as connection:
        if query:
            return _run(console, connection, query)
        console.print(
            "tables: observations, observations_all, series, definitions, items, derived; "
            "macros: last_values, signal, state_durations"
        )
        console.print("a query ends with a semicolon, Ctrl-D ends all", style="dim")
        while line := _read():
            _run(console, connection, line)
    return 0


def archive(data: Path) -> Path:
    """The folder of the archive's live generation: the first one, until a switch has written another."""
    current = data / "archive" / "current.json"
    generation = json.loads(current.read_text())["generation"] if current.exists() else 1
    return data / "archive" / f"g{generation}"


def _read() -> str:
    """One query, over as many lines as it takes; empty at the end of the input."""
    lines: list[str] = []
    try:
        while not lines or not lines[-1].rstrip().endswith(";"):
            lines.append(input(CONTINUED if any(lines) else "sql> "))
            if not any(line.strip() for line in lines):
                lines.clear()
    except EOFError:
        return ""
    return "\n".join(lines)


def _run(console: Console, connection: Any, query: str) -> int:
    try:
        result = connection.execute(query)
    except Exception as error:  # whatever the engine does not like is told, and the prompt goes on
        console.print(str(error), style="red", markup=False)
        return 1
    table = Table(*(column[0] for column in result.description or ()), box=None, header_style="bold")
    for row in result.fetchmany(ROWS_SHOWN):
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)
    if result.fetchone():
        console.print(f"first {ROWS_SHOWN} rows; add a limit or an aggregate", style="dim")
    return 0
