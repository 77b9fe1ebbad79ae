"""The live table as a picture that fits its terminal: assets by place, and below how the pipeline does.

In a narrow terminal there are fewer values, in a low one the assets that need someone come first.
"""

import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table
from rich.text import Text

from assets.frame import SourceAccount
from assets.states import Kind
from deploy.live_model import Asset, LiveModel
from deploy.live_rows import ALARM_LOOK, BAD, SECOND_US, UNCERTAIN, badness, counts, lines, places
from deploy.live_words import LOOK, number, span
from deploy.progress import Progress

LABEL: Final = 9
SILENT_S: Final = 3.0
"""A stream that ticks every second is silent when nothing came for so long."""

PARTS: Final = ("received", "published", "suppressed", "rejected", "buffered")


class Picture:
    """The whole table at the instant `now` (us)."""

    def __init__(self, model: LiveModel, progress: Progress, now: int) -> None:
        self._model = model
        self._progress = progress
        self._now = now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        foot = list(self._foot())
        body = list(self._body(width, height - 1 - len(foot)))
        room = height - 1 - len(foot) - len(body)
        for line in (self._head(), *body):
            line.truncate(width, overflow="ellipsis")
            yield line
        if room > 0:
            yield Text()
        for line in foot:
            line.truncate(width, overflow="ellipsis")
            yield line
        if room > len(self._progress.sources) + 3:
            yield Text()
            yield _accounts(self._progress)

    def _head(self) -> Text:
        clock = time.strftime("%H:%M:%S", time.gmtime(self._now / SECOND_US))
        return Text.assemble((" Penstock ", "bold reverse"), f"  {clock} UTC   ", counts(self._model.assets))

    def _body(self, width: int, room: int) -> Iterator[Text]:
        assets = list(self._model.assets.values())
        if not assets:
            yield Text("  waiting for the first values", style="dim")
        chosen = fitting(assets, room)
        for place in places(chosen):
            yield from lines(place, width, self._now)
        if more := len(assets) - len(chosen):
            yield Text(f"  and {more} more assets; shown are those that need someone first", style="dim")

    def _foot(self) -> Iterator[Text]:
        yield self._alarms()
        yield self._rates()
        yield self._lag()
        yield self._gaps()
        yield self._sources()
        yield Text(" Ctrl-C stops everything in order, a second one at once", style="dim")

    def _alarms(self) -> Text:
        alarms = sorted((a for each in self._model.assets.values() for a in each.alarms), key=lambda a: -a.since)
        line = _label("alarms")
        if not alarms:
            return line.append("none", style="dim")
        for alarm in alarms:
            told = f"{alarm.asset} {alarm.metric} ({alarm.item}) for {span((self._now - alarm.since) / SECOND_US)}   "
            line.append(f"{ALARM_LOOK[0]} {told}", style=ALARM_LOOK[1])
        return line

    def _rates(self) -> Text:
        p = self._progress
        line = _label("rates")
        for rate, what in (
            (p.observations_per_s, "observations"),
            (p.records_per_s, "records"),
            (p.derived_per_s, "derived"),
        ):
            line.append(f"{number(round(rate, 1)):>6}").append(f" {what}/s", style="dim")
        if p.problem:
            return line.append(f"   {p.problem}", style=BAD)
        if p.silent_s > SILENT_S:
            return line.append(f"   stream silent for {span(p.silent_s)}", style=UNCERTAIN)
        return line

    def _lag(self) -> Text:
        line = _label("lag")
        for view, lag in self._progress.lag.items():
            line.append(f"{view} ").append(f"{number(lag)}   ", style="bold")
        return line.append("records not finished yet", style="dim")

    def _gaps(self) -> Text:
        line = _label("gaps")
        if not self._model.gaps:
            return line.append("none", style="dim")
        newest = max(self._model.gaps, key=lambda gap: gap.end)
        line.append(str(self._model.gap_count), style=UNCERTAIN).append("   newest: ", style="dim")
        lost = "" if not newest.lost else f", {newest.lost} values lost"
        lasted, ago = span((newest.end - newest.start) / SECOND_US), span((self._now - newest.end) / SECOND_US)
        return line.append(f"{newest.asset}, {lasted}, ended {ago} ago: {newest.reason}{lost}")

    def _sources(self) -> Text:
        line = _label("sources")
        accounts = self._progress.sources
        silent = [name for name, account in accounts.items() if account.mark is None]
        icon, colour = LOOK[Kind.PRODUCING]
        line.append(f"{icon} {len(accounts) - len(silent)} linked   ", style=colour)
        if silent:
            line.append(f"{LOOK[Kind.OFFLINE][0]} lost: {', '.join(silent)}   ", style=BAD)
        totals = [sum(column) for column in zip(*map(_sums, accounts.values()), strict=True)] or [0] * len(PARTS)
        received, *parts = [f"{number(total)} {part}" for total, part in zip(totals, PARTS, strict=True)]
        return line.append(f"{received} = {' + '.join(parts)}", style="dim")


def fitting(assets: list[Asset], room: int) -> list[Asset]:
    """The assets that fit into so many lines, with their headings; all of them, or those that need someone first."""
    if sum(1 + len(place) for place in places(assets)) <= room:
        return assets
    chosen: list[Asset] = []
    headings: set[tuple[str, str]] = set()
    for asset in sorted(assets, key=badness):
        heading = asset.path, asset.definition.type
        if len(chosen) + 1 + len(headings | {heading}) > room - 1:
            break
        chosen.append(asset)
        headings.add(heading)
    return chosen


def _accounts(progress: Progress) -> Table:
    """The account of every source: what it received and what became of it."""
    names = (*PARTS, "lost")
    table = Table(
        Column("source", min_width=18), *(Column(n, justify="right") for n in names), box=None, header_style="bold"
    )
    for name, account in progress.sources.items():
        numbers = [number(count) for count in (*_sums(account), account.lost)]
        linked = account.mark is not None
        icon, colour = LOOK[Kind.PRODUCING if linked else Kind.OFFLINE]
        table.add_row(Text.assemble((icon, colour), f" {name}"), *numbers, style="" if linked else "dim")
    return table


def _sums(account: SourceAccount) -> tuple[int, int, int, int, int]:
    suppressed, rejected = sum(account.suppressed.values()), sum(account.rejected.values())
    buffered = account.received - account.published - suppressed - rejected
    return account.received, account.published, suppressed, rejected, buffered


def _label(text: str) -> Text:
    return Text(f" {text:<{LABEL}}", style="").append("")
