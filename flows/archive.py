"""The asset stream and derived state to Parquet, for DuckDB.

python -m bytewax.run flows.archive
"""

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from assets.batch import Batch, DerivedBatch, Outgoing, RawBatch
from flows._site import entry, start
from operators.dead_letters import dead_letters
from operators.decode import decode, decode_derived


def build(
    partitions: int,
    stream: Source[tuple[str, RawBatch]],
    state: Source[tuple[str, RawBatch]],
    observations: Sink[tuple[str, Batch]],
    derived: Sink[tuple[str, DerivedBatch]],
    letters: Sink[tuple[str, list[Outgoing]]],
) -> Dataflow:
    """The dataflow between these edges."""
    flow = Dataflow("archive")
    frames = decode("decode", op.input("asset-stream", flow, stream), partitions)
    events = decode_derived("decode-derived", op.input("asset-state", flow, state))
    op.output("observations", frames.oks, observations)
    op.output("derived", events.oks, derived)
    refused = op.merge("all-refused", frames.errs, events.errs)
    op.output("dead-letters", dead_letters("refused", refused, "archive", "decode"), letters)
    return flow


@entry
def flow() -> Dataflow:
    """Archive the live generation."""
    site = start()
    site.create_topics()
    derived = site.generation("derive")
    generation = site.generation("archive")
    return build(
        site.partitions(),
        site.stream("archive", generation),
        site.state("archive", generation, derived),
        site.observation_sink(generation),
        site.derived_sink(generation, derived),
        site.dead_letters("archive"),
    )
