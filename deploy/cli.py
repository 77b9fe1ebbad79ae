"""The commands of `python3 -m deploy`: a table of names, what they do, and the function that does it."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console

from deploy import local, processes, show
from deploy.jars import JarsError, ensure_jars
from deploy.paths import ROOT, data_folder, jars_folder
from deploy.processes import ChildError
from deploy.stack import StackError
from deploy.state import StackState

Arguments = list[str]
Command = Callable[[Arguments], int]

console = Console(highlight=False, soft_wrap=True)


def main(arguments: Arguments) -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m deploy", usage="python3 -m deploy COMMAND [ARGUMENTS]")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "\n".join(f"  {name:8} {_summary(command)}" for name, command in COMMANDS.items())
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    name = parser.parse_args(arguments[:1] or ["--help"]).command
    try:
        return COMMANDS[name](arguments[1:])
    except (StackError, JarsError, ChildError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def setup(_: Arguments) -> int:
    """Make the environment and download the servers; nothing is started."""
    with console.status("checking Apache Kafka") as status:
        ensure_jars(jars_folder(), status.update if console.is_terminal else console.print)
    console.print(f"ready: packages in {ROOT / '.venv'}, servers in {jars_folder()}")
    return 0


def up(_: Arguments) -> int:
    """Start Kafka and NATS, or find them running; returns when both answer."""
    show.stack(console, _up(), data_folder())
    return 0


def down(_: Arguments) -> int:
    """Stop Kafka and NATS; data are kept."""
    ended = local.down(data_folder())
    console.print("stopped" if ended else "nothing was running")
    return 0


def status(_: Arguments) -> int:
    """Show what runs, where, since when, and the size of its data."""
    return show.stack(console, local.status(data_folder()), data_folder())


def demo(arguments: Arguments) -> int:
    """Run everything on the simulated plant, with a live table, or for --seconds N with a --report FILE."""
    from deploy import demo_run

    return demo_run.main(arguments)


def flow(arguments: Arguments) -> int:
    """Run one flow on the local stack: flow NAME, e.g. flow ingest; further arguments go to bytewax.run."""
    if not arguments or arguments[0].startswith("-"):
        print(f"which flow? one of {', '.join(flows())}", file=sys.stderr)
        return 2
    name, *more = arguments
    own = {"-r", "--recovery-directory"} & {*more}
    recovery = None if own else processes.recovery_folder(data_folder(), name, os.environ.get("PENSTOCK_COPY", "0/1"))
    environment = local.environment(_up())
    command = processes.flow_command(name if ":" in name or "." in name else f"flows.{name}", recovery, *more)
    return _become(command, environment)


def test(arguments: Arguments) -> int:
    """Run the tests on a throw-away Kafka and NATS; --faults: the long ones instead, with kills and outages."""
    setup([])
    chosen = ["-m", "faults"] if FAULTS in arguments else []
    return _python("pytest", *chosen, *(argument for argument in arguments if argument != FAULTS))


def check(_: Arguments) -> int:
    """Run what must pass before a change is published: format, lint, types, tests."""
    setup([])
    failed = [" ".join(step) for step in CHECKS if _python(*step) != 0]
    for step in failed:
        console.print(f"[red]failed[/]: {step}")
    return 1 if failed else 0


def bench(arguments: Arguments) -> int:
    """Run the benchmarks with their references: bench core [--json FILE]."""
    setup([])
    return _python("bench", *(arguments or ["core"]))


def docs(arguments: Arguments) -> int:
    """Write the generated pages of docs/ afresh, then check that all of docs/ and README is true."""
    return _python("docs", *arguments) or _python("pytest", "tests/test_docs.py")


def sql(arguments: Arguments) -> int:
    """Query the archive with DuckDB: sql "select ...", or sql alone for a prompt."""
    from deploy import sql as prompt

    return prompt.main(console, " ".join(arguments), data_folder())


def replay(arguments: Arguments) -> int:
    """Rebuild, verify and audit views on the local stack: replay verify archive."""
    return _python("replay", *arguments, environment=local.environment(_up()))


def soak(arguments: Arguments) -> int:
    """Run the pipeline under random faults for a long time, then prove it: soak --minutes 60."""
    return _python("bench.soak", *arguments)


def logs(arguments: Arguments) -> int:
    """Show the last lines of all logs, or of those named: logs kafka ingest."""
    return show.logs(console, data_folder(), arguments)


def lock(_: Arguments) -> int:
    """Rewrite requirements.lock from pyproject.toml with today's versions."""
    _python("pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    compile_ = ["pip", "compile", "--universal", "--python-version", "3.11", "--generate-hashes", "--all-extras"]
    return _python(
        "uv", *compile_, "--no-header", "--no-annotate", "--upgrade", "-o", "requirements.lock", "pyproject.toml"
    )


COMMANDS: dict[str, Command] = {
    command.__name__: command
    for command in (up, down, status, demo, flow, test, check, bench, docs, sql, replay, soak, logs, setup, lock)
}

FAULTS = "--faults"
CODE = ("assets", "sources", "operators", "sinks", "flows", "replay", "deploy", "bench", "docs", "tests")
CHECKS: tuple[tuple[str, ...], ...] = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy", *(folder for folder in CODE if any((ROOT / folder).glob("**/*.py")))),
    ("pytest",),
)


def flows() -> list[str]:
    """The names that `flow` takes: every public module of flows/."""
    return sorted(path.stem for path in (ROOT / "flows").glob("[!_]*.py"))


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Continue as another program: signals then reach it and its exit code is ours."""
    os.execve(command[0], command, environment)


def _up() -> StackState:
    with console.status("starting Kafka and NATS") as progress:
        return local.up(data_folder(), progress.update if console.is_terminal else console.print)


def _python(module: str, *arguments: str, environment: dict[str, str] | None = None) -> int:
    """Run a module of ours or of our packages in this environment; its exit code."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode


def _summary(command: Command) -> str:
    return (command.__doc__ or "").splitlines()[0].rstrip(".")
