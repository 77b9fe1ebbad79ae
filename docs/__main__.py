"""Write the generated pages: `python -m docs [--check]`; with --check they are compared and nothing is written."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from docs._reference import PAGES

FOLDER = Path(__file__).parent / "reference"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check all pages; the exit code is 1 when a checked page is out of date."""
    parser = argparse.ArgumentParser(prog="python -m docs", description="Write the generated pages of docs/reference.")
    parser.add_argument("--check", action="store_true", help="write nothing; name the pages that are out of date")
    options = parser.parse_args(arguments)
    old = [name for name, page in PAGES.items() if not _is(FOLDER / name, page())]
    if options.check:
        for name in old:
            print(f'docs/reference/{name} is out of date; write it with "python -m docs"', file=sys.stderr)
        return 1 if old else 0
    FOLDER.mkdir(exist_ok=True)
    for name in old:
        (FOLDER / name).write_text(PAGES[name]())
    print(f"wrote {', '.join(old)}" if old else "all pages are up to date")
    return 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
