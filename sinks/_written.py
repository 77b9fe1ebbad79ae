"""Records as Kafka has them: their ids, what stands in a partition already so that nothing comes twice, refusals."""

from collections import deque
from typing import Final, Protocol, cast

from confluent_kafka import KafkaError, Message

from assets.batch import Outgoing
from assets.condition import Refused
from sinks._kafka import Reader

ID_HEADER: Final = "id"
FLOW_HEADER: Final = "flow"
CHUNK_RECORDS: Final = 5_000

Headers = list[tuple[str, str | bytes | None]]


class Written(Protocol):
    """What stood in a partition when the flow started."""

    def rest(self, records: list[Outgoing]) -> list[Outgoing]:
        """Those of the records that are not there yet."""

    def position(self) -> int | None:
        """The offset to compare from after a restart now; None: nothing is left to compare."""


class Prefix:
    """The records of a partition from an offset on, read as they are needed, are the first that will come again."""

    def __init__(self, reader: Reader, partition: int, start: int) -> None:
        self._reader = reader
        self._partition = partition
        self._position = start
        self._known: deque[Message] = deque()
        self._exhausted = False

    def rest(self, records: list[Outgoing]) -> list[Outgoing]:
        if self._exhausted:
            return records
        for i, record in enumerate(records):
            if not self._known:
                self._known.extend(self._reader.read(self._partition, self._position, CHUNK_RECORDS))
            if not self._known:
                self._exhausted = True
                return records[i:]
            message = self._known.popleft()
            offset = message.offset()
            assert offset is not None
            if (found := header(message, ID_HEADER)) != record.id:
                raise Refused(
                    f'output of topic "{self._reader.topic}" partition {self._partition} diverges at offset {offset}: '
                    f'it holds "{found}", the flow now makes "{record.id}"; the logic has changed: rebuild into a new '
                    "generation (python -m replay rebuild)"
                )
            self._position = offset + 1
        return []

    def position(self) -> int | None:
        return None if self._exhausted else self._position


class Ids:
    """The ids that stand in a partition from an offset on, each with its offsets."""

    def __init__(self, reader: Reader, partition: int, start: int, end: int, flow: str | None) -> None:
        self._known: dict[str, list[int]] = {}
        while start < end and (messages := reader.read(partition, start, CHUNK_RECORDS)):
            for message in messages:
                offset = message.offset()
                assert offset is not None
                start = offset + 1
                if flow is None or header(message, FLOW_HEADER) == flow:
                    self._known.setdefault(header(message, ID_HEADER), []).append(offset)

    def rest(self, records: list[Outgoing]) -> list[Outgoing]:
        if not self._known:
            return records
        return [record for record in records if not self._skip(record.id)]

    def position(self) -> int | None:
        return min(offsets[0] for offsets in self._known.values()) if self._known else None

    def _skip(self, name: str) -> bool:
        offsets = self._known.get(name)
        if not offsets:
            return False
        offsets.pop(0)
        if not offsets:
            del self._known[name]
        return True


def header(message: Message, name: str) -> str:
    """The text of a record's header, or nothing."""
    found = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return next((value.decode() for key, value in found if key == name and value is not None), "")


def headers_of(record: Outgoing) -> Headers:
    """The headers of a record; its id is the first."""
    return [(ID_HEADER, record.id), *(record.headers or [])] if record.id else [*(record.headers or [])]


def refusal(error: KafkaError, record: Message, cure: str = "") -> Refused:
    """Kafka will never take a record."""
    return Refused(
        f'could not write a record of {len(record.value() or b"")} bytes to topic "{record.topic()}" partition '
        f"{record.partition()}: {error.str()} ({error.name()}){cure}"
    )
