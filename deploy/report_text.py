"""A report as people read it: the accounts, the views, the flows, the archive's answer, and the verdict."""

from itertools import groupby
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from deploy.live_words import number

Report = dict[str, Any]

ACCOUNT: Final = ("received", "published", "suppressed", "rejected", "buffered", "lost", "unexplained")
GOOD, WRONG = ("✓", "green"), ("✕", "bold red")


def show(console: Console, report: Report) -> None:
    """Print all of it."""
    for table in (_sources(report), _views(report), _flows(report), _answer(report)):
        console.print()
        console.print(table)
    console.print()
    console.print(_totals(report))
    for problem in report["problems"]:
        console.print(Text.assemble(WRONG, f" {problem}"))


def _totals(report: Report) -> Text:
    icon = WRONG if report["problems"] else GOOD
    observations, derived, rows = (number(report[n]) for n in ("observations", "derived_events", "parquet_rows"))
    text = (
        f" {number(report['seconds'])} s: {observations} observations, {derived} derived events, {rows} Parquet rows; "
    )
    return Text.assemble(icon, text, f"{report['differences']} differences, {report['unexplained']} unexplained")


def _sources(report: Report) -> Table:
    table = _table("source", *(name.replace("unex", "un-\nex") for name in ACCOUNT))
    for name, account in report["sources"].items():
        table.add_row(name, *(number(account[column]) for column in ACCOUNT))
    totals = report["audit"]["totals"]
    table.add_section()
    table.add_row("all", *(number(totals[column]) for column in ACCOUNT), style="bold")
    return table


def _views(report: Report) -> Table:
    table = _table("view", "records", "seconds", "records/s", "compared", "newer", "differences")
    for name, view in report["views"].items():
        rebuilt, verified = view["rebuild"], view["verify"]
        icon = WRONG if verified["differences"] else GOOD
        numbers = (rebuilt["records"], rebuilt["seconds"], rebuilt["rate"], verified["compared"], verified["newer"])
        told = Text.assemble(icon, f" {number(verified['differences'])}")
        table.add_row(f"{name} rebuilt", *map(number, numbers), told)
    return table


def _flows(report: Report) -> Table:
    table = _table("flow", "exit code", "memory MB", "processor s")
    for name, flow in report["flows"].items():
        table.add_row(name, *(number(flow[key]) for key in ("exit_code", "rss_mb", "cpu_s")))
    return table


def _answer(report: Report) -> Table:
    """One line per asset: its states and how many seconds it was in them."""
    table = Table(Column("asset"), Column("seconds in each state"), box=None, header_style="bold", pad_edge=False)
    for asset, rows in groupby(report["query"]["answer"], key=lambda row: row["asset"]):
        table.add_row(asset, "   ".join(f"{row['state']} {number(row['seconds'])}" for row in rows))
    return table


def _table(first: str, *rest: str) -> Table:
    columns = (Column(name, justify="right") for name in rest)
    return Table(
        Column(first, no_wrap=True), *columns, box=None, header_style="bold", pad_edge=False, collapse_padding=True
    )
