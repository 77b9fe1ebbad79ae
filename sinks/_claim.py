"""One writer per view: who begins to write says so in topic `views`, and whoever sees a later claim stops.

The newest claim wins, for only the operator knows which of two processes is wanted; but a process that is seen to run
on this very machine is not pushed aside: then the newcomer is refused.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import gcd
from pathlib import Path
from typing import Final

import msgspec

from assets.condition import Refused, Unavailable
from assets.connection import KafkaConnection
from assets.stream import VIEWS
from sinks._kafka import Reader
from sinks._kafka_topics import put_table
from sinks._wait import Patience, Stopping

CHECK_S: Final = 1.0
TAKEOVER_S: Final = 3.0
"""How long a newcomer lets one on another machine take to see that it has been replaced; nobody knows if it lives."""
CHUNK: Final = 1_000


class Writer(msgspec.Struct):
    """A process that writes a view: `born` tells it from another one with its number, `since` (us) is its own clock."""

    run: str
    machine: str
    pid: int
    born: int
    since: int

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.since / 1_000_000))
        return f"process {self.pid} on {self.machine.partition('/')[0]} since {since}"


class Claim:
    """The claim of copy i/N of a flow to be the only one that writes its partitions of a view.

    `lost` is called, in a thread, with the reason why this process must not write any more.
    """

    def __init__(
        self, connection: KafkaConnection, view: str, copy: str, stop: Stopping, lost: Callable[[str], None]
    ) -> None:
        self._connection, self._view, self._copy, self._stop, self._lost = connection, view, copy, stop, lost
        self._me = Writer(secrets.token_hex(8), machine(), os.getpid(), born(os.getpid()) or 0, time.time_ns() // 1_000)
        self._reader = Reader(connection, VIEWS, stop)
        self._next = 0
        self._claims: dict[str, tuple[int, Writer]] = {}
        self._cluster = ""
        self._done = threading.Event()

    def take(self) -> None:
        """Claim the view; raises `Refused` when a process of this machine has it."""
        self._read()
        self._cluster = self._reader.cluster()
        others = dict(self._rivals())
        for writer in others.values():
            if writer.machine == self._me.machine and born(writer.pid) == writer.born:
                raise Refused(
                    f'could not begin to write view "{self._view}": {writer} writes it; stop that process first, or '
                    "wait until it has ended"
                )
        put_table(self._connection, VIEWS, self._key(self._copy), msgspec.json.encode(self._me), self._stop)
        for copy in others.keys() - {self._copy}:
            put_table(self._connection, VIEWS, self._key(copy), None, self._stop)
        if any(writer.machine != self._me.machine for writer in others.values()):
            self._wait()
        threading.Thread(target=self._watch, name="claim", daemon=True).start()

    def release(self) -> None:
        """Leave the view to others."""
        self._done.set()
        with suppress(Unavailable):  # the end of this process says it, too
            put_table(self._connection, VIEWS, self._key(self._copy), None)

    def _wait(self) -> None:
        patience, until = Patience(self._stop, f'take over view "{self._view}"'), time.monotonic() + TAKEOVER_S
        while time.monotonic() < until:
            patience.wait()

    def _key(self, copy: str) -> bytes:
        return f"writer.{self._view}.{copy}".encode()

    def _rivals(self) -> Iterator[tuple[str, Writer]]:
        """Others that have claimed partitions of ours, by copy."""
        for copy, (_, writer) in self._claims.items():
            if overlap(copy, self._copy) and writer.run != self._me.run:
                yield copy, writer

    def _read(self) -> None:
        """Take over what has come into the table since."""
        prefix = self._key("")
        while messages := self._reader.read(0, self._next, CHUNK):
            for message in messages:
                self._next = (message.offset() or 0) + 1
                key, value = message.key() or b"", message.value()
                if key.startswith(prefix):
                    copy = key[len(prefix) :].decode()
                    self._claims.pop(copy, None)
                    if value is not None:
                        self._claims[copy] = self._next, msgspec.json.decode(value, type=Writer)

    def _watch(self) -> None:
        self._reader.quiet()
        while not self._done.wait(CHECK_S):
            try:
                reason = self._reason()
            except Unavailable:
                continue  # who cannot ask does not know; what Kafka does not take waits
            if reason is not None:
                self._lost(f'could not go on writing view "{self._view}": {reason}')
                return

    def _reason(self) -> str | None:
        """Why this process must not write any more."""
        if (cluster := self._reader.cluster()) != self._cluster:
            return (
                f'{self._connection.bootstrap} is now Kafka cluster "{cluster}", it was "{self._cluster}"; check '
                "KAFKA_BOOTSTRAP, and delete the recovery store if the cluster was made anew"
            )
        self._read()
        mine = self._claims.get(self._copy)
        at = 0 if mine is None or mine[1].run != self._me.run else mine[0]
        later = [writer for copy, writer in self._rivals() if self._claims[copy][0] > at]
        if later:
            return f"{later[0]} has taken it over; run one of the two"
        return None if at else "its claim is gone from topic views, so another process has taken it over"


def overlap(copy: str, other: str) -> bool:
    """Whether two copies i/N and j/M have partitions in common.

    >>> overlap("0/1", "2/3"), overlap("0/2", "1/2"), overlap("1/2", "1/3")
    (True, False, True)
    """
    (i, n), (j, m) = (map(int, each.split("/")) for each in (copy, other))
    return (i - j) % gcd(n, m) == 0


def machine() -> str:
    """This machine, in one start of it."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()}/{boot.read_text().strip() if boot.exists() else ''}"


def born(pid: int) -> int | None:
    """When a process began (ticks since the machine did); None: there is none, or nobody knows."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
