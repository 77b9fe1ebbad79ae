"""Commands on the plant folder: `python -m assets check [FOLDER]`."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from assets.errors import ConfigError
from assets.plant import Plant, load

DEMO: Final = Path(__file__).parent.parent / "deploy" / "demo" / "plant"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit code: 0 well, 1 the folder has problems, 2 no such command."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.run
    try:
        command(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def check(options: argparse.Namespace) -> None:
    """Read the folder and say what is in it."""
    print(summary(load(options.folder)))


def summary(plant: Plant) -> str:
    """How much of what a plant has, for people."""
    definitions = [asset.definition for asset in plant.assets.values()]
    counts: dict[str, Counter[str]] = {
        "sources": Counter(config.protocol for config in plant.sources.values()),
        "assets": Counter(definition.type for definition in definitions),
        "items": Counter(item.category for definition in definitions for item in definition.items.values()),
        "rules": Counter(rule["rule"] for definition in definitions for rule in definition.derive.values()),
    }
    width = max(len(str(counter.total())) for counter in counts.values())
    lines = [f"  {what:8}{counter.total():{width}}  {_each(counter.items())}" for what, counter in counts.items()]
    return "\n".join([f"{plant.folder} has no problems", *(line.rstrip() for line in lines)])


class _Command(NamedTuple):
    help: str
    run: Callable[[argparse.Namespace], None]
    arguments: Callable[[argparse.ArgumentParser], None]


def _each(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts))


def _folder_argument(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("PENSTOCK_PLANT") or os.path.relpath(DEMO)
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        default=default,
        help="folder of the plant's YAML files; default: $PENSTOCK_PLANT, else the demo's (now %(default)s)",
    )


_COMMANDS: Final = {
    "check": _Command(
        "check a plant folder offline: print what is in it, or all its problems with file and line",
        check,
        _folder_argument,
    ),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m assets", description="Commands on the plant folder.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=command.help[0].upper() + command.help[1:] + ".")
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
