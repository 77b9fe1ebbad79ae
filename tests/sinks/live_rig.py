"""A stream of live values of its own, fed with numbers, and what it must hold."""

import asyncio
import json

from assets.batch import LiveValue
from assets.connection import NatsConnection
from sinks._jetstream import connect
from sinks.nats import LiveSink, find_last_values, last_values
from sources._partition import Stop

PATH = "assets.acme.hamburg.forming.line-1"


class Rig:
    """One stream of its own; `fold` is what it must hold."""

    def __init__(self, connection: NatsConnection, name: str) -> None:
        self.connection = connection
        self.name = name
        self.prefix = f"{name}."
        self.stop = Stop()
        self.fold: dict[str, int] = {}

    def new_sink(self, copy: str = "0/1", *, last_only: bool = False) -> LiveSink:
        return LiveSink(
            self.connection, self.stop, stream=self.name, prefix=self.prefix, copy=copy, last_only=last_only
        )

    def part(
        self, state: bytes | None = None, partition: int = 0, copy: str = "0/1", *, last_only: bool = False
    ) -> "Part":
        self.sink = self.new_sink(copy, last_only=last_only)
        return Part(self, self.sink.build_part("live", f"{partition:04}", state), partition)

    def reached(self) -> tuple[str, int]:
        sink = self.new_sink()
        part = sink.build_part("live", "0999", None)
        try:
            return sink.reached()
        finally:
            part.close()

    def found(self) -> dict[str, bytes]:
        return asyncio.run(find_last_values(self.connection, self.name)) or {}

    def held(self) -> dict[str, int]:
        last = asyncio.run(last_values(self.connection, self.name))
        return {subject.removeprefix(self.prefix): json.loads(one.payload)["value"] for subject, one in last.items()}

    async def consumers(self) -> int:
        async with connect(self.connection) as client:
            return (await client.jetstream().stream_info(self.name)).state.consumer_count

    async def delete(self) -> None:
        async with connect(self.connection) as client:
            await client.jetstream().delete_stream(self.name)

    async def purge(self) -> None:
        async with connect(self.connection) as client:
            await client.jetstream().purge_stream(self.name)


class Part:
    """One partition of the sink, fed with numbers."""

    def __init__(self, rig: Rig, inner: object, partition: int = 0) -> None:
        self.rig = rig
        self.inner = inner
        self.partition = partition

    def write(self, first: int, count: int, subjects: int = 50) -> None:
        base = 1_000_000 * self.partition
        values = [
            live(offset, base + offset % subjects, partition=self.partition) for offset in range(first, first + count)
        ]
        self.rig.fold |= {value.subject: value.offset for value in values}
        self.inner.write_batch([values])  # type: ignore[attr-defined]

    def snapshot(self) -> bytes:
        state: bytes = self.inner.snapshot()  # type: ignore[attr-defined]
        return state

    def close(self) -> None:
        self.inner.close()  # type: ignore[attr-defined]


def live(offset: int, item: int, value: int | None = None, partition: int = 0, index: int = 0) -> LiveValue:
    payload = {"value": offset if value is None else value, "origin": [partition, offset, index]}
    return LiveValue(f"{PATH}.press-01.item-{item}", json.dumps(payload).encode(), partition, offset, index)


def end(offset: int, subject: str, moved_to: str | None = None) -> LiveValue:
    return LiveValue(subject, b"", 0, offset, 0, moved_to)
