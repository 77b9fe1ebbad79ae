"""Rebuild a view from the stream: the same dataflow as live, from the oldest record (or a later one) to a fixed end.

It writes a new generation beside the live one, which goes on undisturbed. No recovery store is used and dead letters
are only counted, for the live flow has written them. An interrupted rebuild leaves an incomplete generation, which the
next one replaces.
"""

import gc
import signal
from collections.abc import Callable, Iterator
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
from flows._site import GC_THRESHOLDS, Site, View
from replay._generations import Generation, Generations, Ranges
from replay._meter import Meter, observations_in
from replay._span import Place, begins_late, choose_inputs
from replay.progress import bar
from sinks._claim import Claim
from sinks.kafka import ensure_topics, stream_topics

EPOCH: Final = timedelta(seconds=10)
"""Each epoch ends with a stall of all sinks, and nothing but the whole rebuild is of use."""
NEED_THE_WHOLE: Final[tuple[View, ...]] = ("derive", "archive")
"""Views that lack something for ever when they begin late; key frames tell `serve` all values it has not read."""


class Rebuilt(msgspec.Struct):
    """What a rebuild did; `written` counts by kind, `rate` is in records/s, `partial` as in `Generation`."""

    view: View
    generation: int
    live: int
    records: int
    written: dict[str, int]
    refused: int
    seconds: float
    rate: int
    inputs: dict[str, Ranges]
    partial: bool


class Stopped(RuntimeError):
    """A stop was asked for before the end; the live view is as it was."""


class FlowFailed(RuntimeError):
    """The dataflow ended with an error; the message is its cause."""


def rebuild(
    site: Site,
    view: View,
    generation: int | None = None,
    to: Place | None = None,
    *,
    start: Place | None = None,
    shown: bool = False,
) -> Rebuilt:
    """Make a generation (default: the one after the live one) from `start` (default: all) up to `to` (default: now).

    Raises `Refused` or `Unavailable` when it cannot be begun, `FlowFailed` or `Stopped` when it did not reach its end.
    """
    generations = Generations(site, view)
    generation = generations.live + 1 if generation is None else generation
    derived = None if view == "derive" else site.generation("derive")
    inputs = choose_inputs(site, view, derived, {} if start is None else start, {} if to is None else to)
    generations.check_beside(generation)
    with _alone(site, view, generation):
        return _rebuild(site, generations, generation, derived, inputs, late=bool(start), shown=shown)


@contextmanager
def _alone(site: Site, view: View, generation: int) -> Iterator[None]:
    """Two rebuilds of one generation would mix their output."""
    lost: list[str] = []

    def end(reason: str) -> None:
        lost.append(reason)
        site.stop.request()

    claim = Claim(site.kafka, f"{view}.g{generation}", "0/1", site.stop, end)
    claim.take()
    try:
        yield
    except Stopped:
        if lost:
            raise Refused(lost[0]) from None
        raise
    finally:
        claim.release()


def _rebuild(
    site: Site,
    generations: Generations,
    generation: int,
    derived: int | None,
    inputs: dict[str, Ranges],
    *,
    late: bool,
    shown: bool,
) -> Rebuilt:
    view = generations.view
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
    partial = view in NEED_THE_WHOLE and late and begins_late(site, inputs[ASSET_STREAM])
    generations.complete(Generation(view, generation, inputs, meter.records, seconds, partial))
    refused = meter.written.pop("refused", 0)
    rate = round(meter.records / max(seconds, 1e-3))
    return Rebuilt(
        view, generation, generations.live, meter.records, dict(meter.written), refused, seconds, rate, inputs, partial
    )


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
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        cli_main(flow, epoch_interval=EPOCH)
    except Exception as error:
        cause = _first_cause(error)
        raise FlowFailed(f'flow "{flow.flow_id}" failed: {str(cause) or type(cause).__name__}') from error
    finally:
        gc.set_threshold(*before)


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
