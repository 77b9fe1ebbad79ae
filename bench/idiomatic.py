"""The same job as one would write it with the engine's own parts: one event per item, a key per asset, its Kafka ends.

    python -m bench.idiomatic TOPIC OUT RECOVERY

It keeps state durably (one-second epochs), as ours does; its sink ignores delivery errors and its source would not
notice lost records: it is the reference for speed, not for guarantees.
"""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.raw import State, cpu_s

Begun = dict[str, float]


def build(brokers: list[str], topic: str, out: str, begun: Begun) -> Dataflow:
    """Consume, decode, key by asset, keep alarm and interval, produce."""

    def decode(message: KafkaSourceMessage[Any, Any]) -> tuple[str, dict[str, Any]]:
        if not begun:
            begun.update(wall=time.perf_counter(), cpu=cpu_s())
        frame = msgspec.json.decode(message.value)
        return frame["asset"], frame

    def step(state: State | None, frame: dict[str, Any]) -> tuple[State, list[dict[str, Any]]]:
        state = State() if state is None else state
        return state, state.changes(frame)

    def encode(keyed: tuple[str, list[dict[str, Any]]]) -> list[KafkaSinkMessage[bytes, bytes]]:
        return [KafkaSinkMessage(keyed[0].encode(), msgspec.json.encode(change)) for change in keyed[1]]

    flow = Dataflow("idiomatic")
    messages = op.input("in", flow, KafkaSource(brokers, [topic], tail=False, batch_size=1000))
    frames = op.map("decode", messages, decode)  # type: ignore[arg-type]
    changes = op.stateful_map("state", frames, step)
    op.output("out", op.flat_map("encode", changes, encode), KafkaSink(brokers, out))
    return flow


def main(topic: str, out: str, recovery: Path) -> dict[str, float]:
    """Run it to the end of the topic."""
    begun: Begun = {}
    recovery.mkdir(parents=True)
    init_db_dir(recovery, 1)
    flow = build([os.environ["KAFKA_BOOTSTRAP"]], topic, out, begun)
    store = RecoveryConfig(str(recovery), backup_interval=timedelta(0))
    cli_main(flow, recovery_config=store, epoch_interval=timedelta(seconds=1))
    return {"wall_s": time.perf_counter() - begun["wall"], "cpu_s": cpu_s() - begun["cpu"]}


if __name__ == "__main__":
    topic_name, out_name, folder = sys.argv[1:]
    print(json.dumps(main(topic_name, out_name, Path(folder))))
