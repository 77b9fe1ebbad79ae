"""The recovery store of a flow as its command line names it: one process at a time, made before it is used."""

import fcntl
import os
import sqlite3
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from assets.condition import Refused

M = TypeVar("M")

RUNNER: Final = ("bytewax", "run.py")
LOCK: Final = "lock"
MANIFEST: Final = "manifest.json"
PARTS: Final = "part-*.sqlite3"
DELETE: Final = "delete the store (costs a replay, no data)"
OTHER_CLUSTER: Final = f"check KAFKA_BOOTSTRAP, or {DELETE} if the cluster was made anew"


class _Made(msgspec.Struct):
    cluster: str


@dataclass(frozen=True)
class Store:
    """A recovery store; `shared`: the processes of a cluster of the engine use one together."""

    folder: Path
    shared: bool = False

    def lock(self) -> None:
        """Keep all other processes out until this one ends, however it ends."""
        if not any(self.folder.glob(PARTS)):
            raise Refused(f'{self.failed}: there is none; make it: python -m bytewax.recovery "{self.folder}" 1')
        handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)  # never closed: the end of us unlocks it
        try:
            fcntl.flock(handle, fcntl.LOCK_NB | (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX))
        except BlockingIOError:
            holder = os.read(handle, 20).decode(errors="replace").strip()
            os.close(handle)
            raise Refused(
                f"{self.failed}: process {holder} uses it; stop that process, or give this one a store of its own"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)

    def expect(self, cluster: Callable[[], str]) -> None:
        """Refuse a cluster that did not make this store, before anything is made or read there."""
        made = self.manifest(_Made)
        if made is not None and (other := other_cluster(made.cluster, cluster())):
            raise Refused(f"{self.failed}: {other}; {OTHER_CLUSTER}")

    def manifest(self, kind: type[M]) -> M | None:
        """What the manifest says; None if there is none yet."""
        file = self.folder / MANIFEST
        if not file.exists():
            return None
        try:
            return msgspec.json.decode(file.read_bytes(), type=kind)
        except msgspec.DecodeError as error:
            raise Refused(f"{self.failed}: its {MANIFEST} cannot be read: {error}; {DELETE}") from None

    @property
    def empty(self) -> bool:
        """Whether no flow has left any state in it."""
        try:
            return not any(_has_state(part) for part in self.folder.glob(PARTS))
        except sqlite3.Error as error:
            raise Refused(f"{self.failed}: {error}; {DELETE}") from None

    def parts(self, step_id: str) -> list[str]:
        """The partitions of an input (or the keys of a step) that have state."""
        try:
            found = [_keys(part, step_id) for part in self.folder.glob(PARTS)]
        except sqlite3.Error as error:
            raise Refused(f"{self.failed}: {error}; {DELETE}") from None
        return sorted(set().union(*found))

    @property
    def failed(self) -> str:
        """How every refusal begins."""
        return f'could not use recovery store "{self.folder}"'


def other_cluster(made: str, now: str) -> str:
    """How two clusters differ, or nothing."""
    return "" if made == now else f'it was made on Kafka cluster "{made}", this is "{now}"'


def named_store(command: Sequence[str] = sys.argv, environment: Mapping[str, str] = os.environ) -> Store | None:
    """The store that `bytewax.run` is told to use, by the same options and variables; None for any other program.

    >>> named_store(["/lib/bytewax/run.py", "flows.derive", "-r", ".data/derive", "-s", "1"], {}).folder
    PosixPath('.data/derive')
    >>> named_store(["/lib/pytest", "-r", "A"], {})
    """
    found = _options(command, environment)
    if found is None or found.recovery_directory is None:
        return None
    return Store(Path(found.recovery_directory), shared=found.addresses is not None)


def is_first_process(command: Sequence[str] = sys.argv, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `bytewax.run` is told to run the only process of a flow, or the first one of a cluster of the engine.

    >>> is_first_process(["/lib/bytewax/run.py", "flows.derive"], {}), is_first_process(["/lib/pytest"], {})
    (True, False)
    """
    found = _options(command, environment)
    return found is not None and found.process_id in (None, "0")


def _options(command: Sequence[str], environment: Mapping[str, str]) -> Namespace | None:
    if Path(command[0]).parts[-2:] != RUNNER:
        return None
    parser = ArgumentParser(add_help=False)
    parser.add_argument("-r", "--recovery-directory", default=environment.get("BYTEWAX_RECOVERY_DIRECTORY"))
    parser.add_argument("-a", "--addresses", default=environment.get("BYTEWAX_ADDRESSES"))
    parser.add_argument("-i", "--process-id", default=environment.get("BYTEWAX_PROCESS_ID"))
    return parser.parse_known_args(list(command[1:]))[0]


def _has_state(part: Path) -> bool:
    with closing(sqlite3.connect(part)) as file:
        return file.execute("SELECT 1 FROM snaps LIMIT 1").fetchone() is not None


def _keys(part: Path, step_id: str) -> set[str]:
    with closing(sqlite3.connect(part)) as file:
        return {key for (key,) in file.execute("SELECT DISTINCT state_key FROM snaps WHERE step_id = ?", (step_id,))}
