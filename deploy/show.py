"""What the terminal shows of the local stack: a table of its servers, and the ends of logs."""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from deploy.processes import last_lines
from deploy.state import Phase, ServiceState, StackState

COLOURS = {Phase.RUNNING: "green", Phase.STARTING: "yellow", Phase.STOPPED: "dim", Phase.FAILED: "red"}
LOG_FOLDERS = ("stack", "kafka", "nats", "logs")
COLUMNS = ("server", "state", "address", "pid", "since", "memory", "data")


def stack(console: Console, state: StackState, data: Path) -> int:
    """Print the servers and where their data lie; 0 if they run, else 3 (as `systemctl status` does)."""
    table = Table(*(Column(name, no_wrap=True) for name in COLUMNS), box=None, pad_edge=False, header_style="bold")
    for name, service in state.services.items():
        table.add_row(name, *_row(state, service))
    if state.services:
        console.print(table)
    colour = COLOURS[state.phase]
    console.print(f"[{colour}]{state.phase}[/]" + (f": {state.message}" if state.message else ""), f"(data in {data})")
    return 0 if state.phase == Phase.RUNNING else 3


def logs(console: Console, data: Path, names: list[str]) -> int:
    """Print the last lines of every log below `data`, or of those named."""
    found = {path.stem: path for folder in LOG_FOLDERS for path in sorted((data / folder).glob("*.log"))}
    for name in names or found:
        if name not in found:
            console.print(f'there is no log "{name}"; there are: {", ".join(found)}')
            return 1
        console.print(f"[bold]{found[name]}[/]")
        console.print(last_lines(found[name], 40 if names else 10), markup=False)
    return 0


def _row(state: StackState, service: ServiceState) -> tuple[str, ...]:
    process = service.process.find() if service.process else None
    if service.process is None:
        return ("existing", service.address, "", "", "", "")
    running = "[green]running[/]" if process else f"[{COLOURS[state.phase]}]stopped[/]"
    since = time.strftime("%b %d %H:%M", time.localtime(service.since)) if process else ""
    memory = size(process.memory_info().rss) if process else ""
    return (
        running,
        service.address,
        str(service.process.pid) if process else "",
        since,
        memory,
        size(used(Path(service.data))),
    )


def used(folder: Path) -> int:
    """Bytes on the disk below a folder (Kafka's files are sparse: their lengths say nothing)."""
    total = 0
    for path in folder.glob("**/*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:  # removed by its server in between
            continue
    return total


def size(count: float) -> str:
    """Bytes with a unit and three digits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
