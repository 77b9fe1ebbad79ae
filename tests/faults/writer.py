"""A gateway that never tires: a deterministic stream of frames and ticks, written under load or in one piece."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from assets.connection import KafkaConnection
from assets.stream import ASSET_STREAM
from sinks._kafka import shared_producer
from tests.replay.plant_stream import START, Run, records

PACE: Final = 40
"""Seconds of the stream per second of the test: about a thousand records."""
MESSAGES_PER_SECOND: Final = 4
"""Of the stream: both sources say something and give a mark."""
DRAIN_TIMEOUT_S: Final = 60.0


class Writer:
    """Writes the seconds of one long run of a gateway, one after the other; an outage of Kafka makes its queue grow."""

    def __init__(self, kafka: KafkaConnection, seconds: int) -> None:
        self.seconds = 0
        self._messages = records(Run(START, seconds))
        self._producer = shared_producer(kafka)

    def write(self, seconds: int) -> None:
        """So many seconds of the stream at once; returns when Kafka has them."""
        for _ in range(seconds):
            self._second()
        self._producer.drain_within(DRAIN_TIMEOUT_S)

    @contextmanager
    def load(self) -> Iterator[None]:
        """Write at `PACE` for as long as this is entered; at the end Kafka has all of it."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,), name="writer", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(DRAIN_TIMEOUT_S)
            self._producer.drain_within(DRAIN_TIMEOUT_S)

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(1 / PACE):
            self._second()

    def _second(self) -> None:
        for _ in range(MESSAGES_PER_SECOND):
            for record in next(self._messages):
                self._producer.produce(ASSET_STREAM, record.value, record.key, record.partition)
            self._producer.poll()
        self.seconds += 1
