"""An operator and a flow of one's own: which machines have been too hot for ten seconds.

python -m bytewax.run docs.examples.overheat
"""

from collections.abc import Container, Iterator

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from assets.batch import Outgoing, RawBatch
from assets.frame import Observation
from assets.status import is_good
from assets.stream import ASSET_STREAM
from flows._manifest import checked
from flows._site import entry, start
from operators.asset_logic import AssetLogic, Change
from operators.asset_state import asset_state
from operators.decode import decode
from sinks.kafka import StreamSink, TopicSpec, ensure_topics
from sources.kafka import StreamSource

TOPIC = "overheat"
LIMIT_CEL = 90.0
DELAY_US = 10_000_000


class Overheat(AssetLogic):
    """Hot when `temperature` stays above the limit for ten seconds; the fields are the state."""

    hot: bool = False
    since: int | None = None

    @property
    def wanted(self) -> Container[str]:
        return ("temperature",)

    def on_observation(self, o: Observation) -> Iterator[Change]:
        above = is_good(o.status) and isinstance(o.value, int | float) and o.value > LIMIT_CEL
        if not above:
            self.due = None
            if self.hot:
                yield self.become(False, o.time)
        elif not self.hot and self.due is None:
            self.due = o.time + DELAY_US

    def on_time(self, now: int) -> Iterator[Change]:
        yield self.become(True, now)

    def become(self, hot: bool, at: int) -> Change:
        """Take the new state; the change bears the interval that ended."""
        change = Change("overheat", hot, previous=self.hot, since=self.since, time=at)
        self.hot, self.since = hot, at
        return change


def build(partitions: int, stream: Source[tuple[str, RawBatch]], out: Sink[tuple[str, list[Outgoing]]]) -> Dataflow:
    """The dataflow between these edges."""
    flow = Dataflow("overheat")
    frames = decode("decode", op.input("asset-stream", flow, stream), partitions)
    op.output("out", asset_state("overheat", frames.oks, Overheat), out)
    return flow


@entry
def flow() -> Dataflow:
    """Read the live stream and write topic `overheat`."""
    site = start()
    site.create_topics()
    ensure_topics(site.kafka, [TopicSpec(name=TOPIC, like=ASSET_STREAM)])
    stream = StreamSource(site.kafka, ASSET_STREAM, site.stop, copy=site.copy, group="overheat")
    out = StreamSink(site.kafka, TOPIC, site.stop, resume="prefix")
    return checked(site, build(site.partitions(), stream, out))
