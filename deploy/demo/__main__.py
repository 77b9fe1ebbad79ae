"""Run the simulated plant: `python -m deploy.demo --data DIR [--seed N] [--seconds N] [--ports A B C D]`.

Prints one line `READY {...}` with the variables that the plant folder needs, then runs until SIGTERM or SIGINT.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

from deploy.demo import site
from deploy.demo.physics import SCAN_US, SECOND_US
from deploy.demo.runner import Runner, now_us


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser("python -m deploy.demo", description="A simulated plant of twelve machines.")
    parser.add_argument("--data", type=Path, required=True, help="folder for truth.jsonl and caches")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same plant (default 1)")
    parser.add_argument("--seconds", type=float, help="stop by itself after so long")
    parser.add_argument("--ports", type=int, nargs=4, metavar=("OPCUA1", "OPCUA2", "MODBUS1", "MODBUS2"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)  # clients that leave are no news here, and what fails is said below
    args.data.mkdir(parents=True, exist_ok=True)
    ports = args.ports or site.free_ports(len(site.SERVERS))
    try:
        asyncio.run(run(args.seed, ports, args.data, args.seconds))
    except OSError as error:
        sys.exit(f"could not start the demo plant on ports {ports}: {error}; leave --ports away to use free ones")


async def run(seed: int, ports: list[int], data: Path, seconds: float | None) -> None:
    """Run until a signal comes or `seconds` are over; then stop every server."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = Runner(seed, ports, data)
    try:
        await runner.start()
        ready = {"env": site.environment(ports), "pid": os.getpid(), "truth": str(data / "truth.jsonl")}
        print("READY", json.dumps(ready), flush=True)
        await keep_scanning(runner, stop, seconds)
    finally:
        await runner.stop()


async def keep_scanning(runner: Runner, stop: asyncio.Event, seconds: float | None) -> None:
    """Step the plant once per scan; after a delay all missed scans follow at once, so none is ever left out."""
    clock = asyncio.get_running_loop().time
    begin, time_us = clock() - (now_us() - runner.start_us) / SECOND_US, SCAN_US
    while seconds is None or time_us <= seconds * SECOND_US:
        try:
            await asyncio.wait_for(stop.wait(), begin + time_us / SECOND_US - clock())
            return
        except TimeoutError:
            await runner.step(time_us)
            time_us += SCAN_US


if __name__ == "__main__":
    main()
