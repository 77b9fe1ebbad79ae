"""Hand messages from a flow to a thread that publishes them: bounded, in order, and the flow can wait for it."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from sinks._wait import Patience, Stopping

X = TypeVar("X")


class Handover(Generic[X]):
    """`put` and `flush` are the flow's side; `take`, `done`, `notify` and `fail` the publishing thread's.

    The flow waits while more than `most` messages are not done; `task` says what for, should a stop end the wait.
    """

    def __init__(self, stop: Stopping, task: str, most: int) -> None:
        self._stop = stop
        self._task = task
        self._most = most
        self._changed = threading.Condition()
        self._queue: deque[list[X]] = deque()
        self._put = 0
        self._done = 0
        self._error: BaseException | None = None
        self.ring: Callable[[], None] = lambda: None

    @property
    def waiting(self) -> int:
        """How many messages are not done."""
        return self._put - self._done

    def put(self, items: list[X]) -> int:
        """Hand over messages; returns what to `flush` to."""
        self.until(lambda: self._put - self._done < self._most)
        with self._changed:
            self._queue.append(items)
            self._put += len(items)
        self.ring()
        return self._put

    def flush(self, ticket: int) -> None:
        """Wait until everything up to a ticket is done."""
        self.until(lambda: self._done >= ticket)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that the thread brings about; raises what ended the thread."""
        patience = Patience(self._stop, self._task)
        with self._changed:
            while not condition():
                if self._error is not None:
                    raise self._error
                patience.wait(self._changed.wait)

    def take(self, most: int) -> list[X]:
        """The next messages: whole lists up to about `most`, a longer one in pieces."""
        taken: list[X] = []
        with self._changed:
            while self._queue and len(taken) < most:
                items = self._queue.popleft()
                room = most - len(taken)
                if len(items) > room:
                    self._queue.appendleft(items[room:])
                    items = items[:room]
                taken += items
        return taken

    def done(self, count: int) -> None:
        """The oldest `count` messages have arrived where they should."""
        with self._changed:
            self._done += count
            self._changed.notify_all()

    def notify(self) -> None:
        """Something that the flow may be waiting for has changed."""
        with self._changed:
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """The thread has ended; the flow ends with its error."""
        with self._changed:
            self._error = error
            self._changed.notify_all()
