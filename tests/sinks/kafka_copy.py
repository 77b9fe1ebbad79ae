"""A flow for tests: records of one topic become none, one or two records of another; run as a process of its own."""

import logging
import os

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from assets.batch import Outgoing, RawBatch
from assets.connection import KafkaConnection
from sinks.kafka import StreamSink
from sources._partition import Stop
from sources.kafka import StreamSource


def made_of(partition: int, offset: int, version: str = "") -> list[str]:
    """The ids (and values) that the flow writes for one record."""
    return [f"{partition}:{offset}:{i}{version}" for i in range(offset % 3)]


def flow() -> Dataflow:
    logging.basicConfig(level=logging.INFO)
    stop = Stop()
    stop.install()
    logging.getLogger("copy").info("handlers are installed")
    connection = KafkaConnection.from_environment()
    version = os.environ.get("VERSION", "")

    def copy(batch: RawBatch) -> list[Outgoing]:
        ids = [
            (key, made)
            for o, key in zip(batch.offsets, batch.keys, strict=True)
            for made in made_of(batch.partition, o, version)
        ]
        return [Outgoing(batch.partition, key, made.encode(), made) for key, made in ids]

    df = Dataflow("copy")
    source = StreamSource(connection, os.environ["TOPIC_IN"], stop, group=os.environ["TOPIC_OUT"], batch_records=500)
    batches = op.input("in", df, source)
    copied = op.map_value("copy", batches, copy)
    op.output("out", copied, StreamSink(connection, os.environ["TOPIC_OUT"], stop, resume="prefix"))
    return df
