"""Analysts' door: DuckDB on the archive, with its views, for one query or as a prompt."""

from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

ROWS_SHOWN = 200


def connect(archive: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the views that the archive describes in its views.sql."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute((archive / "views.sql").read_text())
    return connection


def main(console: Console, query: str, archive: Path) -> int:
    """Run one query, or read queries from a prompt until its end."""
    if not (archive / "views.sql").exists():
        console.print(f"there is no archive in {archive} yet; `python3 -m deploy demo` or `flow archive` writes one")
        return 1
    connection = connect(archive)
    if query:
        return _run(console, connection, query)
    console.print("tables and macros: show tables; an empty line or Ctrl-D ends", style="dim")
    while line := _read():
        _run(console, connection, line)
    return 0


def _read() -> str:
    try:
        return input("sql> ").strip().rstrip(";")
    except EOFError:
        return ""


def _run(console: Console, connection: duckdb.DuckDBPyConnection, query: str) -> int:
    try:
        result = connection.execute(query)
    except duckdb.Error as error:
        console.print(str(error), style="red", markup=False)
        return 1
    table = Table(*(column[0] for column in result.description or ()), box=None, header_style="bold")
    for row in result.fetchmany(ROWS_SHOWN):
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)
    if result.fetchone():
        console.print(f"first {ROWS_SHOWN} rows; add a limit or an aggregate", style="dim")
    return 0
