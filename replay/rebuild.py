"""Rebuild a view from the stream: the same dataflow as live, from the oldest record to a fixed end.

It writes a new generation beside the live one, which goes on undisturbed. No recovery store is used and dead letters
are only counted, for the live flow has written them. An interrupted rebuild leaves an incomplete generation, which the
next one replaces.
"""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import Any, Final

import msgspec
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from assets.condition import Refused
from assets.stream import ASSET_STREAM, state_topic
from flows import archive, derive, serve
from flows._site import Site, View
from replay._generations import Generation, Generations, Offsets, Ranges
from replay._meter import Meter, observations_in
from replay.progress import bar
from sinks.kafka import ensure_topics, stream_topics
from sources.kafka import watermarks

EPOCH: Final = timedelta(seconds=10)
"""Each epoch ends with a stall of all sinks, and nothing but the whole rebuild is of use."""


class Rebuilt(msgspec.Struct):
    """What a rebuild did; `written` counts by kind, `rate` is in records/s."""

    view: View
    generation: int
    live: int
    records: int
    written: dict[str, int]
    refused: int
    seconds: float
    rate: int
    inputs: dict[str, Ranges]


class Stopped(RuntimeError):
    """A stop was asked for before the end; the live view is as it was."""


class FlowFailed(RuntimeError):
    """The dataflow ended with an error; the message is its cause."""


def rebuild(
    site: Site, view: View, generation: int | None = None, to: Mapping[int, int] | None = None, *, shown: bool = False
) -> Rebuilt:
    """Make a generation (default: the one after the live one) up to the offsets `to` of `asset-stream` (default: now).

    Raises `Refused` or `Unavailable` when it cannot be begun, `FlowFailed` or `Stopped` when it did not reach its end.
    """
    generations = Generations(site, view)
    generation = generations.live + 1 if generation is None else generation
    derived = None if view == "derive" else site.generation("derive")
    inputs = choose_inputs(site, derived, to or {})
    generations.forget(generation)
    if derived is None:
        ensure_topics(site.kafka, stream_topics(generation))
    meter = Meter(sum(end - start for ranges in inputs.values() for start, end in ranges.values()))
    began = monotonic()
    with _interruptible(site), bar(f"rebuilding {view}", meter.total, shown=shown, now=lambda: meter.offsets):
        _run(_FLOWS[view](site, generation, derived or 0, inputs, meter))
    if site.stop.requested:
        raise Stopped(
            f'stopped rebuilding generation {generation} of view "{view}" after {meter.offsets} of {meter.total} '
            f"records; it is incomplete and the next rebuild replaces it; generation {generations.live} is still live"
        )
    seconds = round(monotonic() - began, 3)
    generations.complete(Generation(view, generation, inputs, meter.records, seconds))
    refused = meter.written.pop("refused", 0)
    rate = round(meter.records / max(seconds, 1e-3))
    return Rebuilt(
        view, generation, generations.live, meter.records, dict(meter.written), refused, seconds, rate, inputs
    )


def choose_inputs(site: Site, derived: int | None, to: Mapping[int, int]) -> dict[str, Ranges]:
    """Per topic and partition the offsets to read; `derived`: the generation of derived state to read, too.

    The end of derived state is asked first, so all it holds was derived from records before the end of the stream.
    """
    inputs = {}
    if derived is not None:
        inputs[state_topic(derived)] = watermarks(site.kafka, state_topic(derived))
    inputs[ASSET_STREAM] = _cut(watermarks(site.kafka, ASSET_STREAM), to)
    return inputs


def _cut(ranges: Ranges, to: Mapping[int, int]) -> Ranges:
    for partition, end in to.items():
        low, high = ranges.get(partition, (0, -1))
        if not low <= end <= high:
            has = f"it has offsets {low} to {high}" if high >= 0 else f"there are partitions 0 to {max(ranges)}"
            where = f'offset {end} of topic "{ASSET_STREAM}" partition {partition}'
            raise Refused(f"could not rebuild up to {where}: {has}")
    return {p: (low, to.get(p, high)) for p, (low, high) in ranges.items()}


def parse_offsets(text: str) -> Offsets:
    """Offsets as the command line has them, `now` for none.

    >>> parse_offsets("0:120,7:15"), parse_offsets("now")
    ({0: 120, 7: 15}, {})
    """
    if text == "now":
        return {}
    return {int(p): int(offset) for p, _, offset in (pair.partition(":") for pair in text.split(","))}


def _derive(site: Site, generation: int, _derived: int, inputs: dict[str, Ranges], meter: Meter) -> Dataflow:
    return derive.build(
        site.partitions(),
        meter.source(site.stream("derive", generation, inputs[ASSET_STREAM])),
        meter.sink("derived_events", site.state_sink(generation)),
        meter.discard("refused"),
    )


def _serve(site: Site, generation: int, derived: int, inputs: dict[str, Ranges], meter: Meter) -> Dataflow:
    return serve.build(
        site.partitions(),
        meter.source(site.stream("serve", generation, inputs[ASSET_STREAM])),
        meter.source(site.state("serve", generation, derived, inputs[state_topic(derived)])),
        meter.sink("messages", site.live_sink(generation)),
        meter.discard("refused"),
    )


def _archive(site: Site, generation: int, derived: int, inputs: dict[str, Ranges], meter: Meter) -> Dataflow:
    return archive.build(
        site.partitions(),
        meter.source(site.stream("archive", generation, inputs[ASSET_STREAM])),
        meter.source(site.state("archive", generation, derived, inputs[state_topic(derived)])),
        meter.sink("observations", site.observation_sink(generation), observations_in),
        meter.sink("derived_events", site.derived_sink(generation, derived), lambda batch: len(batch.events)),
        meter.discard("refused"),
    )


_FLOWS: Final[dict[View, Callable[[Site, int, int, dict[str, Ranges], Meter], Dataflow]]] = {
    "derive": _derive,
    "serve": _serve,
    "archive": _archive,
}


def _run(flow: Dataflow) -> None:
    try:
        cli_main(flow, epoch_interval=EPOCH)
    except Exception as error:
        cause = _first_cause(error)
        raise FlowFailed(f'flow "{flow.flow_id}" failed: {str(cause) or type(cause).__name__}') from error


def _first_cause(error: BaseException) -> BaseException:
    """What the engine wrapped into its own errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def _interruptible(site: Site) -> Iterator[None]:
    """While the flow runs, SIGINT and SIGTERM ask for a clean stop."""
    before: dict[Any, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    site.stop.install()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
