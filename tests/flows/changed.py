"""Programs that derive could have been: with a renamed step, a wrapped one, and a newer form of its state."""

import bytewax.operators as op
from bytewax.dataflow import Dataflow, operator
from bytewax.operators import KeyedStream

from assets.batch import Batch, Outgoing
from flows import derive
from flows._manifest import checked
from flows._site import Site, entry, start
from operators import asset_state
from operators.decode import decode
from operators.rules import Rules


@operator
def wrapped_rules(step_id: str, up: KeyedStream[Batch]) -> KeyedStream[list[Outgoing]]:
    """The rules, one level deeper."""
    return asset_state.asset_state("rules", up, Rules)


@entry
def renamed() -> Dataflow:
    """`rules` is called `state`."""
    flow, frames, site = begin()
    op.output("asset-state", asset_state.asset_state("state", frames, Rules), site.state_sink(1))
    return checked(site, flow)


@entry
def wrapped() -> Dataflow:
    """`rules` is in an operator of its own."""
    flow, frames, site = begin()
    op.output("asset-state", wrapped_rules("more", frames), site.state_sink(1))
    return checked(site, flow)


@entry
def newer() -> Dataflow:
    """The same steps, by a program that writes their state in another form."""
    asset_state.SNAPSHOT_VERSION = 99  # type: ignore[misc]
    return derive.flow()


def begin() -> tuple[Dataflow, KeyedStream[Batch], Site]:
    """What derive begins with."""
    site = start()
    site.create_topics()
    flow = Dataflow("derive")
    decoded = decode("decode", op.input("asset-stream", flow, site.stream("derive", 1)), 12)
    op.output("dead-letters", op.map_value("none", decoded.errs, lambda _: []), site.dead_letters("derive"))
    return flow, decoded.oks, site
