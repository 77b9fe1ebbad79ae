"""The asset stream and derived state to NATS: every value live, the last one of each subject kept.

python -m bytewax.run flows.serve
"""

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from assets.batch import LiveValue, Outgoing, RawBatch
from flows._site import entry, start
from operators.dead_letters import dead_letters
from operators.decode import decode, decode_derived
from operators.live_values import live_values


def build(
    partitions: int,
    stream: Source[tuple[str, RawBatch]],
    state: Source[tuple[str, RawBatch]],
    live: Sink[tuple[str, list[LiveValue]]],
    letters: Sink[tuple[str, list[Outgoing]]],
) -> Dataflow:
    """The dataflow between these edges."""
    flow = Dataflow("serve")
    frames = decode("decode", op.input("asset-stream", flow, stream), partitions)
    events = decode_derived("decode-derived", op.input("asset-state", flow, state))
    op.output("live", live_values("values", frames.oks, events.oks), live)
    refused = op.merge("all-refused", frames.errs, events.errs)
    op.output("dead-letters", dead_letters("refused", refused, "serve", "decode"), letters)
    return flow


@entry
def flow() -> Dataflow:
    """Serve the live generation."""
    site = start()
    site.create_topics()
    derived = site.generation("derive")
    generation = site.generation("serve")
    return build(
        site.partitions(),
        site.stream("serve", generation),
        site.state("serve", generation, derived),
        site.live_sink(),
        site.dead_letters("serve"),
    )
