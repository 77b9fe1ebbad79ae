"""The archive for analysts: DuckDB views over exactly the files that the manifests name.

    connection = connect(Path(".data/archive/g1"))
    connection.sql("FROM last_values('press-01')")

The same views in a DuckDB shell: `duckdb -init .data/archive/g1/views.sql` (see `write_views`).
"""

from pathlib import Path
from typing import Final

import duckdb

from sinks.parquet import prepare

_VIEWS: Final = Path(__file__).with_name("views.sql")


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory with the views of the archive below `root`, as it is now (`refresh` for later)."""
    connection = duckdb.connect()
    refresh(connection, root)
    return connection


def refresh(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Let the views see what was published since."""
    prepare(root)
    connection.execute(_set_root(root))
    connection.execute(_VIEWS.read_text())


def write_views(root: Path) -> Path:
    """Write `views.sql` beside the archive; it finds new files whenever it is read, so it is written once."""
    prepare(root)
    path = root / "views.sql"
    path.write_text(f"{_set_root(root)}\n{_VIEWS.read_text()}")
    return path


def _set_root(root: Path) -> str:
    quoted = str(root.resolve()).replace("'", "''")
    return f"SET VARIABLE root = '{quoted}';\n"
