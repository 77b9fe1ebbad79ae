"""From devices to the flow: reading begins before the flow can take it, and the engine never waits for a device."""

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Final

from bytewax.inputs import FixedPartitionedSource

from assets.reading import Mark, Message
from sources._backlog import Backlog
from sources._devices import DeviceThread, Source, now_us
from sources._overflow import Overflow
from sources._partition import LONGEST_WAIT_MS, Partition, Stop

IDLE_MS: Final = 5
KEEP_INTERVAL_S: Final = 0.25
Items = list[tuple[str, list[Message]]]


class _Intake:
    """A source at work, and what of it may go on to the flow."""

    def __init__(self, source: Source, full: Callable[[], bool]) -> None:
        self.name = source.name
        self.thread = DeviceThread(source)
        self._overflow = Overflow(full)

    def take(self) -> list[Message]:
        """What it has said since it was asked last, as far as its next mark.

        So after a stall the sources go on side by side in their own time, and none leads by more than a second.
        """
        return self._overflow.take(self.thread.outlet.take(to_mark=True))


class Devices(FixedPartitionedSource[tuple[str, list[Message]], None]):
    """All sources of a gateway; one engine partition each, keyed by the source's name.

    Guarantee: at most once up to the hand-over (a device's unread changes are lost while the flow is down, and the
    loss is written as `_gap`); effectively once from there to Kafka, as far as there is room to wait for it.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        stop: Stop,
        full: Callable[[], bool] = lambda: False,
        known: Collection[str] = (),
    ) -> None:
        """While `full` says so, nothing can be stored: what is read is dropped, counted, and told as a gap.

        `known` names the partitions that the recovery store knows: the engine ends if one of them has gone.
        """
        self._sources = dict(sources)
        self._gone = [name for name in known if name not in self._sources]
        self._stop = stop
        self._full = full
        self._intakes: dict[str, _Intake] = {}
        self._backlog: Backlog | None = None
        self._flowing = threading.Event()
        self._keeper: threading.Thread | None = None

    def begin(self, backlog: Backlog) -> None:
        """Read from now on; until the flow runs, what comes is kept in the backlog."""
        self._backlog = backlog
        self._full = lambda: backlog.full
        self._intakes = {name: _Intake(source, self._is_full) for name, source in self._sources.items()}
        self._keeper = threading.Thread(target=self._keep, args=(backlog,), name="backlog", daemon=True)
        self._keeper.start()

    def go_on(self, full: Callable[[], bool]) -> None:
        """The flow is about to run, and `full` tells whether there is room behind it: the backlog comes first."""
        self._flowing.set()
        if self._keeper is not None:
            self._keeper.join()
        self._full = full

    def end(self) -> None:
        """There will be no flow: let all sources leave their devices."""
        self._flowing.set()
        for intake in self._intakes.values():
            intake.thread.end()
        for intake in self._intakes.values():
            intake.thread.join()

    def list_parts(self) -> list[str]:
        return [*self._sources, *self._gone]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Any:
        if for_part in self._gone:
            return _GonePartition(self._stop, LONGEST_WAIT_MS)
        intake = self._intakes.get(for_part) or _Intake(self._sources[for_part], self._is_full)
        return _DevicePartition(intake, self._stop, self._is_full, self._backlog)

    def _is_full(self) -> bool:
        return self._full()

    def _keep(self, backlog: Backlog) -> None:
        turn = 0
        while not self._flowing.wait(KEEP_INTERVAL_S):
            turn += 1
            for name, intake in self._intakes.items():
                if taken := intake.take():
                    backlog.put(name, taken, turn)


class _DevicePartition(Partition[tuple[str, list[Message]], None]):
    """One source inside the engine; it ends with the flow.

    Nothing is kept in the recovery store: what was published stands in Kafka, and a device cannot be rewound.
    """

    def __init__(self, intake: _Intake, stop: Stop, full: Callable[[], bool], backlog: Backlog | None) -> None:
        super().__init__(stop, IDLE_MS)
        self._intake = intake
        self._full = full
        self._backlog = backlog

    def read(self) -> Items:
        taken = self._intake.take() if self._old is None else self._take_old(self._old)
        for message in taken:
            if isinstance(message, Mark):
                message.handed = now_us()
        return [(self._intake.name, taken)] if taken else []

    def next_awake(self) -> datetime | None:
        """At once as long as there is an old round to go through with the others."""
        return super().next_awake() if self._old is None or self._quiet or self._full() else None

    @property
    def _old(self) -> Backlog | None:
        """What was read before the flow ran: first that of all sources, then what they say now."""
        if self._backlog is not None and self._backlog.empty:
            self._backlog = None
        return self._backlog

    def _take_old(self, backlog: Backlog) -> list[Message]:
        """It waits for room, because it is stored already."""
        return [] if self._full() else backlog.take(self._intake.name)

    def drained(self) -> bool:
        self._intake.thread.end()
        if self._old is not None:
            return self._old.left(self._full())
        ended = self._intake.thread.ended  # asked first: its last words come before its end
        return ended and not self._intake.thread.outlet.queue

    def position(self) -> None:
        return None

    def close(self) -> None:
        self._intake.thread.end()
        self._intake.thread.join()
        super().close()


class _GonePartition(Partition[tuple[str, list[Message]], None]):
    """A source that is in the plant no more: it says nothing."""

    def read(self) -> Items:
        return []

    def position(self) -> None:
        return None
