"""What the commands found, in words for a terminal."""

import json
from collections.abc import Iterator

import msgspec

from replay._accounts import SourceReport
from replay._compare import Verdict
from replay.audit import Report
from replay.rebuild import Rebuilt
from replay.status import Status


def rebuilt(made: Rebuilt) -> str:
    """What a rebuild did."""
    wrote = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in made.written.items())
    refused = f"; {made.refused:,} records could not be decoded" if made.refused else ""
    partial = "; it is partial: no flow can go on with it" if made.partial else ""
    return (
        f'rebuilt view "{made.view}" into generation {made.generation} ({made.live} is live): read {made.records:,} '
        f"records in {made.seconds:.1f} s ({made.rate:,}/s), wrote {wrote}{refused}{partial}"
    )


def verdict(found: Verdict) -> str:
    """Whether two generations are equal."""
    head = f'view "{found.view}", generation {found.rebuilt} compared with {found.live}'
    what = f"{found.compared:,} rows of {found.series:,} series compared, {found.newer:,} are newer"
    what += f", {found.older:,} are older" if found.older else ""
    if not found.differences and not found.compared:
        return f"{head}: nothing to compare yet; {what}"
    if not found.differences:
        return f"{head}: equal; {what}; hash {found.hash_live}"
    first = found.first
    assert first is not None
    late = found.view == "serve" and found.since and None in (first.live, first.rebuilt)
    cure = (
        "\nno key frame has repeated this value where the view began: rebuild it from an earlier --from" if late else ""
    )
    return (
        f"{head}: {found.differences:,} differences; {what}\n"
        f"first: {first.series} at partition {first.partition} offset {first.offset} index {first.index}\n"
        f"  generation {found.live}: {json.dumps(first.live, default=str)}\n"
        f"  generation {found.rebuilt}: {json.dumps(first.rebuilt, default=str)}{cure}"
    )


def status(found: Status, faults: list[str]) -> str:
    """How the stream and the views are, and what is not well."""
    silent = "none yet" if found.silent_s is None else f"the last {found.silent_s:.1f} s ago"
    views = [f"{name}: generation {v.generation}, {v.behind:,} records behind" for name, v in found.views.items()]
    return "\n".join([f"stream: {found.records:,} records, {silent}", *views, *faults])


def audited(found: Report) -> str:
    """The account of every source, and what does not add up."""
    return "\n".join(_audited(found))


def _audited(found: Report) -> Iterator[str]:
    names = found.totals.__struct_fields__
    rows = [("source", *names)]
    rows += [(name, *map(_number, _values(report))) for name, report in sorted(found.sources.items())]
    rows.append(("all", *map(_number, _values(found.totals))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
    archive, serve = found.archive, found.serve
    yield f"archive: {archive.rows:,} rows, {archive.on_stream:,} on the stream over the same offsets"
    if serve is None:
        yield "serve: NATS has no stream of live values"
    else:
        yield f"serve: {serve.subjects:,} subjects, {serve.on_stream:,} on the stream; {serve.newer:,} are newer"
    yield f"{found.records:,} records read, {found.undecodable:,} undecodable; unexplained: {found.unexplained:,}"
    for deviation in found.deviations:
        where = {k: v for k, v in msgspec.to_builtins(deviation).items() if k not in ("kind", "count", "detail")}
        place = ", ".join(f"{name} {value}" for name, value in where.items() if value is not None)
        yield f"  {deviation.kind} ({deviation.count:,}): {deviation.detail} [{place}]"
    yield from map(str, found.writers)


def _values(report: SourceReport) -> list[int]:
    return [getattr(report, name) for name in report.__struct_fields__]


def _number(value: int) -> str:
    return f"{value:,}"
