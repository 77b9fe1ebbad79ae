"""What is read while there is nowhere to put it: dropped, counted, and told afterwards as one gap."""

from collections.abc import Callable
from typing import Final

from assets.reading import Gap, Link, Mark, Message, Readings

REASON: Final = "the spool was full"


class Overflow:
    """Between one source and the flow: as long as `full` says so, nothing but the end of the source goes through."""

    def __init__(self, full: Callable[[], bool]) -> None:
        self._full = full
        self._lost: dict[str, int] = {}
        self._span: tuple[int, int] | None = None
        self._link: Link | None = None
        self._passed_at: int | None = None
        self._all = self._unknown = False
        self._total = 0

    def take(self, messages: list[Message]) -> list[Message]:
        """What may go on of these messages, after what has to be said of those before."""
        if self._full():
            return [passed for message in messages for passed in self._while_full(message)]
        out: list[Message] = [*self._told(), *messages] if self._span else messages
        if self._total:
            for message in out:
                if isinstance(message, Mark):
                    message.lost += self._total
        for message in reversed(messages):
            if isinstance(message, Readings):
                self._passed_at = message.received
                break
        return out

    def _while_full(self, message: Message) -> list[Message]:
        if isinstance(message, Mark):
            message.lost += self._total
            return [*self._told(), message] if message.last else []
        self._drop(message)
        return []

    def _drop(self, message: Link | Gap | Readings) -> None:
        if isinstance(message, Link):
            self._link = message
            self._missed(message.at, message.at)
        elif isinstance(message, Gap):
            self._missed(message.start, message.end)
            self._all = self._all or not message.addresses
            self._unknown = self._unknown or message.lost != 0
            self._lost = dict.fromkeys(message.addresses, 0) | self._lost
        else:
            self._missed(message.received, message.received)
            self._count(message)

    def _count(self, readings: Readings) -> None:
        self._total += len(readings.readings)
        for reading in readings.readings:
            self._lost[reading.address] = self._lost.get(reading.address, 0) + 1

    def _missed(self, start: int, end: int) -> None:
        """A value is older than the message it comes in, so a gap begins where the last message went on."""
        first, last = self._span or (self._passed_at or start, end)
        self._span = min(first, start), max(last, end)

    def _told(self) -> list[Message]:
        out: list[Message] = []
        if self._span and (self._lost or self._all):
            addresses = [] if self._all else sorted(self._lost)
            known = (None, None) if self._unknown else (sum(self._lost.values()), self._lost)
            out.append(Gap(addresses, *self._span, REASON, *known))
        if self._link:
            out.append(self._link)
        self._lost, self._span, self._link, self._all, self._unknown = {}, None, None, False, False
        return out
