"""The live table of the demo: drawn four times a second in a terminal, one line every five seconds elsewhere."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live

from assets.connection import KafkaConnection, NatsConnection
from deploy.live_feed import LiveFeed
from deploy.live_model import LiveModel
from deploy.live_rows import counts
from deploy.live_view import Picture
from deploy.live_words import number
from deploy.progress import Progress, ProgressWatch

REFRESH_S: Final = 0.25
LINE_EVERY_S: Final = 5.0

Over = Callable[[], bool]
"""Whether it is time to end; also the place to raise when something else has ended."""


def show(console: Console, environment: Mapping[str, str], over: Over) -> None:
    """Follow the servers of `environment` until `over`."""
    model = LiveModel()
    with (
        LiveFeed(NatsConnection.from_environment(environment)) as feed,
        ProgressWatch(KafkaConnection.from_environment(environment)) as watch,
    ):
        draw = _table if console.is_terminal else _lines
        draw(console, model, feed, watch, over)


def keep_log(path: Path) -> None:
    """Write what libraries have to say into a file: in the terminal it would tear the table apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=path, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _table(console: Console, model: LiveModel, feed: LiveFeed, watch: ProgressWatch, over: Over) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while not over():
            _take(model, feed)
            live.update(Picture(model, watch.now, _now_us()), refresh=True)
            time.sleep(REFRESH_S)


def _lines(console: Console, model: LiveModel, feed: LiveFeed, watch: ProgressWatch, over: Over) -> None:
    next_at = time.monotonic() + LINE_EVERY_S
    while not over():
        _take(model, feed)
        if time.monotonic() >= next_at:
            next_at += LINE_EVERY_S
            console.print(line(model, watch.now))
        time.sleep(REFRESH_S)


def line(model: LiveModel, now: Progress) -> str:
    """Everything in one line, for logs."""
    lag = ", ".join(f"{view} {number(records)}" for view, records in now.lag.items()) or "not known"
    assets = " ".join(counts(model.assets).plain.split()) or "no assets yet"
    rates = f"{number(now.observations_per_s)} observations/s, {number(now.derived_per_s)} derived/s"
    return f"{assets}; {rates}; lag: {lag}; gaps: {model.gap_count}" + (f"; {now.problem}" if now.problem else "")


def _take(model: LiveModel, feed: LiveFeed) -> None:
    for subject, payload in feed.take():
        model.take(subject, payload)


def _now_us() -> int:
    return time.time_ns() // 1_000
