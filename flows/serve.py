"""The asset stream and derived state to NATS: every value live, the last one of each subject kept.

python -m bytewax.run flows.serve
"""

from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import Sink

from assets.batch import LiveValue, Outgoing, RawBatch
from flows._claim import claimed
from flows._manifest import checked
from flows._site import entry, start
from operators.dead_letters import dead_letters
from operators.decode import decode_both
from operators.live_values import live_values
from sinks._bound import BoundSink
from sources._bound import Binding
from sources._together import Together


def build(
    partitions: int,
    stream: FixedPartitionedSource[tuple[str, RawBatch], Any],
    state: FixedPartitionedSource[tuple[str, RawBatch], Any],
    live: Sink[tuple[str, list[LiveValue]]],
    letters: Sink[tuple[str, list[Outgoing]]],
) -> Dataflow:
    """The dataflow between these edges."""
    flow = Dataflow("serve")
    records = op.input("records", flow, Together({"asset-stream": stream, "asset-state": state}))
    decoded = decode_both("decode", records, partitions)
    op.output("live", live_values("values", decoded.frames, decoded.events), live)
    op.output("dead-letters", dead_letters("refused", decoded.errs, "serve", "decode"), letters)
    return flow


@entry
def flow() -> Dataflow:
    """Serve the live generation."""
    site = start()
    site.create_topics()
    derived = site.generation("derive")
    generation = site.generation("serve")
    live = site.live_sink()
    bound = Binding(live.reached)
    made = build(
        site.partitions(),
        bound(site.stream("serve", generation)),
        bound(site.state("serve", generation, derived)),
        live,
        BoundSink(site.dead_letters("serve"), bound.position, bound.noted),
    )
    return claimed(site, checked(site, made), "serve", generation)
