"""Devices to the asset stream: read every source, give readings their meaning, number the records, publish.

python -m bytewax.run flows.ingest
python -m bytewax.run "flows.ingest:flow('plants/hamburg')"
"""

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from assets.batch import Outgoing
from assets.reading import Message
from flows._gateway import Gateway, frames_sink, letters_sink
from flows._manifest import checked
from flows._patience import patiently
from flows._site import entry, start
from flows._writers import watch
from operators.dead_letters import dead_letters
from operators.normalize import normalize
from operators.sequence import sequence


def build(
    gateway: Gateway,
    devices: Source[tuple[str, list[Message]]],
    stream: Sink[tuple[str, list[Outgoing]]],
    letters: Sink[tuple[str, list[Outgoing]]],
) -> Dataflow:
    """The dataflow between these edges."""
    flow = Dataflow("ingest")
    messages = op.input("devices", flow, devices)
    normalized = normalize("normalize", messages, gateway.normalizers)
    models = {
        asset: gateway.plant.assets[asset].definition for assets in gateway.assets_of.values() for asset in assets
    }
    records = sequence(
        "sequence",
        normalized.oks,
        gateway.name,
        gateway.run,
        gateway.partitions,
        models,
        gateway.assets_of,
        gateway.gone,
    )
    op.output("asset-stream", records, stream)
    op.output("dead-letters", dead_letters("refused", normalized.errs, "ingest", "normalize"), letters)
    return flow


@entry
def flow(plant: str | None = None) -> Dataflow:
    """Read the plant of `$PENSTOCK_PLANT` (default: the demo's)."""
    site = start(plant)
    gateway, devices, outbox = Gateway.of(site)

    def made() -> Dataflow:
        return checked(site, build(gateway, devices, frames_sink(outbox, gateway), letters_sink(outbox, site)))

    try:
        ready = patiently(site.stop, made)
    except BaseException:
        devices.end()
        raise
    devices.go_on(lambda: outbox.full)
    watch(site, gateway.name, gateway.partitions)
    return ready
