"""The command line of `python -m replay`."""

import argparse
from typing import Final

from assets.duration import parse_duration_us
from replay._generations import VIEW_NAMES
from replay._span import FORMS, Place, parse_place

EXIT_CODES: Final = "exit code: 0 well, 1 something differs or is unexplained, 2 could not be done, 130 stopped"
SERVERS: Final = "KAFKA_BOOTSTRAP, NATS_URL and PENSTOCK_DATA say which servers and folder, as for flows."


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="python -m replay", description=f"Rebuild, verify, audit and watch views. {SERVERS}", epilog=EXIT_CODES
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    rebuild = _add(
        commands, "rebuild", "make a view anew from the stream, beside the live one, which goes on", view=True
    )
    rebuild.add_argument(
        "--generation", type=_generation, metavar="N", help="number of the new generation (default: the live one's + 1)"
    )
    rebuild.add_argument(
        "--from",
        dest="start",
        type=_place,
        default={},
        metavar="PLACE",
        help=f"where in asset-stream to begin (default: at its oldest record): {FORMS}",
    )
    rebuild.add_argument(
        "--to",
        type=_place,
        default={},
        metavar="PLACE",
        help='where to end: "now" (default), or a place as for --from; what stands there is left out',
    )
    verify = _add(
        commands, "verify", "compare two generations of a view, row by row where both have finished", view=True
    )
    verify.add_argument(
        "--generation", type=_generation, metavar="N", help="generation to check (default: the newest rebuilt one)"
    )
    verify.add_argument(
        "--against", type=_generation, metavar="M", help="generation to compare it with (default: the live one)"
    )
    _add(commands, "audit", "prove that what each source received is accounted for, up to the archive and NATS")
    _add_status(commands)
    return top


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str, *, view: bool = False
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=EXIT_CODES
    )
    if view:
        command.add_argument("view", choices=VIEW_NAMES, metavar="VIEW", help=f"one of {', '.join(VIEW_NAMES)}")
    command.add_argument("--json", action="store_true", help="print the result as one JSON object, and no progress")
    return command


def _add_status(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    status = _add(commands, "status", "tell for how long the stream is silent and how far the views are behind")
    status.add_argument(
        "--max-silence",
        type=_duration,
        default="10s",
        metavar="DURATION",
        help="exit code 1 if the stream is silent for longer (default: 10s; gateways tick every second)",
    )
    status.add_argument(
        "--max-behind", type=int, metavar="RECORDS", help="exit code 1 if a view is farther behind (default: no limit)"
    )


def _generation(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a number from 1 on; it is "{text}"')
    return int(text)


def _duration(text: str) -> int:
    try:
        return parse_duration_us(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _place(text: str) -> Place:
    try:
        return parse_place(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'expected "now", {FORMS}; it is "{text}"') from None
