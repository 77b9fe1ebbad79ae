"""The proof at the end of a demo: the accounts, every view rebuilt and compared, a question to the archive."""

import json
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from assets.connection import KafkaConnection
from deploy.drain import drain
from deploy.jars import Progress
from deploy.paths import ROOT
from deploy.pipeline import Pipeline
from deploy.processes import Usage
from deploy.progress import VIEWS_READ, Live
from replay.archive import connect
from sources.kafka import watermarks

Report = dict[str, Any]

QUERY: Final = """\
SET VARIABLE began = (SELECT min(ts) FROM derived);
SET VARIABLE ended = (SELECT max(ts) FROM observations);
FROM (FROM state_durations('running', getvariable('began'), getvariable('ended'))
      UNION ALL FROM state_durations('cycle', getvariable('began'), getvariable('ended')))
SELECT asset, coalesce(state, 'not known') AS state, round(seconds, 1) AS seconds, times
ORDER BY asset, seconds DESC"""
"""How long every asset was in each state."""
ROWS: Final = "SELECT (SELECT count(*) FROM observations_all), (SELECT count(*) FROM derived)"
DONE: Final = (0, 1)
"""Exit codes of replay whose answer is complete: all is well, or something differs."""


class ReplayError(RuntimeError):
    """A command of replay that did not come to its end."""


def make(pipeline: Pipeline, seconds: float, say: Progress) -> Report:
    """Finish everything that runs, then prove it; `problems` says in words what is not as it should be."""
    codes, usage = drain(pipeline)
    audit, views = _prove(pipeline.environment, say)
    kafka = KafkaConnection.from_environment(pipeline.environment)
    live = Live.of(kafka)
    rows, answer = _ask(pipeline.data / "archive" / f"g{live.generations['archive']}")
    report: Report = {
        "seconds": round(seconds, 1),
        "sources": {name: _source(account) for name, account in audit["sources"].items()},
        "observations": _observations(audit["totals"]),
        "derived_events": sum(high - low for low, high in watermarks(kafka, live.derived).values()),
        "parquet_rows": sum(rows),
        "query": {"sql": QUERY, "answer": answer},
        "views": views,
        "audit": audit,
        "flows": {name: _flow(code, usage[name]) for name, code in codes.items()},
        "differences": sum(view["verify"]["differences"] for view in views.values()),
        "unexplained": audit["unexplained"],
    }
    return report | {"problems": problems(report)}


def problems(report: Report) -> list[str]:
    """What keeps a report from being all well; empty if nothing does."""
    found = [f'flow "{n}" ended with exit code {f["exit_code"]}' for n, f in report["flows"].items() if f["exit_code"]]
    for name, view in report["views"].items():
        if count := view["verify"]["differences"]:
            found.append(f'view "{name}" differs from its rebuild in {count} places, first: {view["verify"]["first"]}')
        elif not view["verify"]["compared"]:
            found.append(f'view "{name}" was not compared: it has finished nothing yet; run the demo for longer')
    if report["unexplained"]:
        found.append(f"{report['unexplained']} are unexplained, first: {report['audit']['deviations'][:1]}")
    return found


def write(report: Report, file: Path) -> None:
    """Write the report as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2, default=str) + "\n")


def _prove(environment: Mapping[str, str], say: Progress) -> tuple[Report, dict[str, Report]]:
    """The audit, and every view rebuilt and verified; they do not touch each other, so two go on at a time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        views = {view: pool.submit(_rebuild_and_verify, view, environment, say) for view in VIEWS_READ}
        say("auditing: what every source received, and what became of it")
        audit = pool.submit(_replay, environment, "audit")
        return audit.result(), {view: future.result() for view, future in views.items()}


def _rebuild_and_verify(view: str, environment: Mapping[str, str], say: Progress) -> Report:
    say(f"rebuilding the view {view} from the stream, and comparing it")
    return {command: _replay(environment, command, view) for command in ("rebuild", "verify")}


def _replay(environment: Mapping[str, str], *arguments: str) -> Report:
    command = [sys.executable, "-m", "replay", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode not in DONE:
        raise ReplayError(f"could not {' '.join(arguments)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    answer: Report = json.loads(done.stdout)
    return answer


def _ask(folder: Path) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    """The rows of both tables of the archive, and the answer to the question."""
    with connect(folder) as archive:
        observations, derived = archive.execute(ROWS).fetchone() or (0, 0)
        result = archive.execute(QUERY)
        names = [column[0] for column in result.description]
        return (observations, derived), [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _source(account: Report) -> Report:
    return {**account, "observations": _observations(account)}


def _observations(account: Report) -> int:
    return int(account["on_stream"] + account["in_flight"])


def _flow(code: int, usage: Usage) -> Report:
    return {"exit_code": code, "rss_mb": round(usage.rss_bytes / 1e6, 1), "cpu_s": round(usage.cpu_s, 2)}
