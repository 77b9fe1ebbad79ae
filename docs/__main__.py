"""Write the generated pages and excerpts: `python -m docs [--check]`; --check compares and writes nothing."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from docs._excerpts import ROOT, pages, refreshed
from docs._reference import PAGES

FOLDER = Path(__file__).parent / "reference"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check all pages; the exit code is 1 when a checked page is out of date."""
    parser = argparse.ArgumentParser(prog="python -m docs", description="Write what is generated in the pages.")
    parser.add_argument("--check", action="store_true", help="write nothing; name the pages that are out of date")
    options = parser.parse_args(arguments)
    old = [(path, text) for path, text in _pages() if not path.exists() or path.read_text() != text]
    if options.check:
        for path, _ in old:
            print(f'{_name(path)} is out of date; write it with "python -m docs"', file=sys.stderr)
        return 1 if old else 0
    for path, text in old:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    print(f"wrote {', '.join(_name(path) for path, _ in old)}" if old else "all pages are up to date")
    return 0


def _pages() -> Iterator[tuple[Path, str]]:
    """All pages as they should be."""
    for name, page in PAGES.items():
        yield FOLDER / name, page()
    for path in pages():
        yield path, refreshed(path.read_text())


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


if __name__ == "__main__":
    sys.exit(main())
