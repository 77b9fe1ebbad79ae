"""The asset stream and derived state to Parquet, for DuckDB.

python -m bytewax.run flows.archive
"""

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import Sink

from assets.batch import Batch, DerivedBatch, Outgoing, RawBatch
from flows._manifest import checked
from flows._site import entry, start
from operators.dead_letters import dead_letters
from operators.decode import decode_both
from sources._together import Together


def build(
    partitions: int,
    stream: FixedPartitionedSource[tuple[str, RawBatch], int],
    state: FixedPartitionedSource[tuple[str, RawBatch], int],
    observations: Sink[tuple[str, Batch]],
    derived: Sink[tuple[str, DerivedBatch]],
    letters: Sink[tuple[str, list[Outgoing]]],
) -> Dataflow:
    """The dataflow between these edges."""
    flow = Dataflow("archive")
    records = op.input("records", flow, Together({"asset-stream": stream, "asset-state": state}))
    decoded = decode_both("decode", records, partitions)
    op.output("observations", decoded.frames, observations)
    op.output("derived", decoded.events, derived)
    op.output("dead-letters", dead_letters("refused", decoded.errs, "archive", "decode"), letters)
    return flow


@entry
def flow() -> Dataflow:
    """Archive the live generation."""
    site = start()
    site.create_topics()
    derived = site.generation("derive")
    generation = site.generation("archive")
    made = build(
        site.partitions(),
        site.stream("archive", generation),
        site.state("archive", generation, derived),
        site.observation_sink(generation),
        site.derived_sink(generation, derived),
        site.dead_letters("archive"),
    )
    return checked(site, made)
