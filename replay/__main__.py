"""Commands on views: `python -m replay rebuild|verify|audit|status`."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from flows._site import LOG_FORMAT, Site
from replay import _text
from replay._options import parser
from replay.audit import audit
from replay.rebuild import Stopped, rebuild
from replay.status import status
from replay.verify import verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the result is its exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=os.environ.get("PENSTOCK_LOG", "WARNING"), format=LOG_FORMAT)
    try:
        result, text, good = _COMMANDS[options.command](Site.from_environment(), options)
    except (Stopped, KeyboardInterrupt) as stopped:
        print(stopped or "stopped", file=sys.stderr)
        return 130
    except Exception as error:  # whatever it is, it is told in one line, and with its place on request
        logging.getLogger(__name__).debug("could not %s", options.command, exc_info=True)
        print(str(error) or f"could not {options.command}: {type(error).__name__}", file=sys.stderr)
        return 2
    print(msgspec.json.encode(result).decode() if options.json else text)
    return 0 if good else 1


def _rebuild(site: Site, options: argparse.Namespace) -> tuple[object, str, bool]:
    view, generation, shown = options.view, options.generation, not options.json
    made = rebuild(site, view, generation, options.to, start=options.start, shown=shown)
    return made, _text.rebuilt(made), True


def _verify(site: Site, options: argparse.Namespace) -> tuple[object, str, bool]:
    found = verify(site, options.view, options.generation, options.against, shown=not options.json)
    return found, _text.verdict(found), not found.differences


def _audit(site: Site, options: argparse.Namespace) -> tuple[object, str, bool]:
    found = audit(site, shown=not options.json)
    return found, _text.audited(found), not found.unexplained


def _status(site: Site, options: argparse.Namespace) -> tuple[object, str, bool]:
    found = status(site)
    faults = found.faults(options.max_silence / 1e6, options.max_behind)
    return {**msgspec.to_builtins(found), "faults": faults}, _text.status(found, faults), not faults


_COMMANDS: Final[dict[str, Callable[[Site, argparse.Namespace], tuple[object, str, bool]]]] = {
    "rebuild": _rebuild,
    "verify": _verify,
    "audit": _audit,
    "status": _status,
}


if __name__ == "__main__":
    sys.exit(main())
