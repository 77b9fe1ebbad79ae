"""`python -m bench core [--json FILE] [--rounds N] [--scale F]`."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from bench import core


def main() -> int:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("name", choices=["core"], help="what to measure")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved runs of each loop (default: 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of records (default: 1)")
    arguments = parser.parse_args()
    errors = Console(stderr=True)
    figures = core.run(arguments.rounds, arguments.scale, errors.print)
    core.show(figures, Console() if sys.stdout.isatty() else Console(width=160))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
