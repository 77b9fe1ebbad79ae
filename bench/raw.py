"""The reference: a bare loop around confluent-kafka with the same work and none of the guarantees.

    python -m bench.raw TOPIC OUT RECORDS KIND

KIND `decode` consumes and decodes (msgspec, untyped); `state` also keeps an alarm and an interval per asset in dicts
and produces the changes with delivery callbacks. No state is durable, nothing is skipped after a restart.
"""

import json
import os
import resource
import sys
import time
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

CONSUMER = {
    "group.id": "raw",
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "queued.max.messages.kbytes": 65536,
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 10,
}
PRODUCER = {"enable.idempotence": True, "compression.type": "zstd", "linger.ms": 5}


class State:
    """Alarm and interval per asset."""

    def __init__(self) -> None:
        self.alarms: dict[str, bool] = {}
        self.states: dict[str, tuple[str, int]] = {}

    def changes(self, frame: dict[str, Any]) -> list[dict[str, Any]]:
        """What a frame changes."""
        out: list[dict[str, Any]] = []
        asset = frame["asset"]
        for item, value, _status, time_us, _flags in frame["observations"]:
            if item == "temperature":
                active = self.alarms.get(asset, False)
                if (value > 90) if not active else (value < 80):
                    self.alarms[asset] = not active
                    out.append({"asset": asset, "metric": "overheat", "time": time_us, "value": not active})
            elif item == "state":
                known = self.states.get(asset)
                if known is None or known[0] != value:
                    self.states[asset] = (value, time_us)
                    since = None if known is None else known[1]
                    change = {"asset": asset, "metric": "running", "time": time_us, "value": value, "since": since}
                    out.append(change)
        return out


def main(bootstrap: str, topic: str, out: str, expected: int, kind: str) -> dict[str, float]:
    """Run the loop to the last record; wall and processor seconds from the first record on."""
    consumer = Consumer({"bootstrap.servers": bootstrap, **CONSUMER})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    producer = Producer({"bootstrap.servers": bootstrap, **PRODUCER, "queue.buffering.max.messages": 1_000_000})
    decode, encode, state, failed = msgspec.json.decode, msgspec.json.encode, State(), []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    done, began, cpu = 0, 0.0, 0.0
    while done < expected:
        messages = consumer.consume(4000, 0.1)
        if messages and not began:
            began, cpu = time.perf_counter(), cpu_s()
        for message in messages:
            frame = decode(message.value())  # type: ignore[arg-type] # no record of the stream is empty
            if kind == "state":
                for change in state.changes(frame):
                    at: int = message.partition()  # type: ignore[assignment] # only errors have none
                    producer.produce(out, encode(change), message.key(), at, on_delivery=delivered)
        producer.poll(0)
        done += len(messages)
    producer.flush()
    if failed:
        raise SystemExit(f"{len(failed)} records were not delivered")
    result = {"wall_s": time.perf_counter() - began, "cpu_s": cpu_s() - cpu}
    consumer.close()
    return result


def cpu_s() -> float:
    """Processor seconds of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    topic_name, out_name, count, what = sys.argv[1:]
    print(json.dumps(main(os.environ["KAFKA_BOOTSTRAP"], topic_name, out_name, int(count), what)))
