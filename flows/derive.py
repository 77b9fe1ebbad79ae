"""The asset stream to derived state: run every asset's rules, as the stream carries them.

python -m bytewax.run flows.derive
"""

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from assets.batch import Outgoing, RawBatch
from flows._claim import claimed
from flows._manifest import checked
from flows._site import entry, start
from operators.asset_state import checked_state
from operators.dead_letters import dead_letters
from operators.decode import decode
from operators.rules import Rules


def build(
    partitions: int,
    stream: Source[tuple[str, RawBatch]],
    state: Sink[tuple[str, list[Outgoing]]],
    letters: Sink[tuple[str, list[Outgoing]]],
) -> Dataflow:
    """The dataflow between these edges."""
    flow = Dataflow("derive")
    frames = decode("decode", op.input("asset-stream", flow, stream), partitions)
    derived = checked_state("rules", frames.oks, Rules)
    op.output("asset-state", derived.oks, state)
    refused = dead_letters("refused", frames.errs, "derive", "decode")
    unfit = dead_letters("unfit", derived.errs, "derive", "rules")
    op.output("dead-letters", op.merge("letters", refused, unfit), letters)
    return flow


@entry
def flow() -> Dataflow:
    """Derive the live generation."""
    site = start()
    site.create_topics()
    generation = site.generation("derive")
    made = build(
        site.partitions(),
        site.stream("derive", generation),
        site.state_sink(generation),
        site.dead_letters("derive"),
    )
    return claimed(site, checked(site, made), "derive", generation)
