"""What a recovery store belongs to, written beside it: a flow that does not fit is refused before it reads anything.

The engine finds state by the ids of steps and takes positions as they are: after a renamed step, another number of
partitions or another cluster it would go on silently, without its state or at the wrong place.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import msgspec
from bytewax.dataflow import Dataflow, Operator

from assets.condition import Refused
from flows._site import Site
from flows._store import DELETE, MANIFEST, OTHER_CLUSTER, Store, named_store, other_cluster
from sources.kafka import cluster

STATEFUL: Final[Mapping[str, str]] = {"input": "source", "output": "sink", "stateful_batch": "builder"}
"""The engine's steps that keep state, each with the attribute that says whose it is."""
VERSIONS: Final = ("SNAPSHOT_VERSION", "STATE_VERSION", "SCHEMA_VERSION")
"""The constants of a module that say how its steps write their state; without any it is a plain number: version 1."""
GO_BACK: Final = f"{DELETE} or go back to the program that made it"
OWN_STORE: Final = "give each flow and each copy i/N a store of its own"


class Difference(NamedTuple):
    """Why a store does not fit a flow, and what to do."""

    what: str
    cure: str


class Manifest(msgspec.Struct, kw_only=True):
    """What a store was made by and for: the steps with the versions of their state, and where they read and write."""

    v: int = 1
    flow: str
    copy: str
    generation: int | None
    cluster: str
    topics: dict[str, int]
    steps: dict[str, str]

    @classmethod
    def of(cls, site: Site, flow: Dataflow) -> Self:
        """The manifest of a flow that is about to run."""
        kafka = cluster(site.kafka)
        return cls(
            flow=flow.flow_id,
            copy=site.copy,
            generation=site.uses.generation,
            cluster=kafka.id,
            topics={topic: kafka.partitions.get(topic, 0) for topic in sorted(site.uses.topics)},
            steps=stateful_steps(flow),
        )

    def misfits(self, now: "Manifest") -> Iterator[Difference]:
        """Everything in which a flow differs from the one that made the store."""
        if self.flow != now.flow:
            yield Difference(f'it belongs to flow "{self.flow}", this is flow "{now.flow}"', OWN_STORE)
            return
        if other := other_cluster(self.cluster, now.cluster):
            yield Difference(other, OTHER_CLUSTER)
        if self.copy != now.copy:
            yield Difference(f"it belongs to copy {self.copy}, this is copy {now.copy}", OWN_STORE)
        if self.generation != now.generation:
            what = f"it holds generation {self.generation}, generation {now.generation} is live"
            yield Difference(what, DELETE)
        yield from _topics(self.topics, now.topics)
        yield from _steps(self.steps, now.steps)


def checked(site: Site, flow: Dataflow) -> Dataflow:
    """The flow, if the recovery store of the command line fits it or is new; without a store nothing is checked."""
    if (store := named_store()) is not None:
        check(store, Manifest.of(site, flow))
    return flow


def check(store: Store, now: Manifest) -> None:
    """Refuse a store that another flow has made; claim an empty one."""
    made = store.manifest(Manifest)
    if made is None:
        if not store.empty:
            raise Refused(
                f"{store.failed}: it has state but no {MANIFEST}, so nobody knows which program made it; {DELETE}"
            )
        _write(store, now)
        return
    if found := list(made.misfits(now)):
        cures = dict.fromkeys(difference.cure for difference in found)
        raise Refused("; ".join([f"{store.failed}: {found[0].what}", *(each.what for each in found[1:]), *cures]))


def stateful_steps(flow: Dataflow) -> dict[str, str]:
    """The ids of all steps that keep state, each with the version of what it keeps."""
    found = {}
    for step in _walk(flow.substeps):
        if owner := STATEFUL.get(type(step).__name__):
            found[step.step_id] = _version(getattr(step, owner))
    return dict(sorted(found.items()))


def _walk(steps: Sequence[Operator]) -> Iterator[Operator]:
    for step in steps:
        yield step
        yield from _walk(step.substeps)


def _version(owner: Any) -> str:
    """The version of the state of a source, of a sink, or of what a step is built by."""
    module = sys.modules[owner.__module__]
    return ".".join(str(getattr(module, name)) for name in VERSIONS if hasattr(module, name)) or "1"


def _topics(made: Mapping[str, int], now: Mapping[str, int]) -> Iterator[Difference]:
    for topic in sorted(made.keys() & now.keys()):
        if made[topic] != now[topic]:
            yield Difference(
                f'topic "{topic}" had {made[topic]} partitions and has {now[topic]}, so assets lie elsewhere in it',
                f'bring "{topic}" back with {made[topic]} partitions, or begin with an empty topic and empty stores',
            )
    if changed := _changed(made, now):
        yield Difference(f"it was made on other topics: {changed}", DELETE)


def _steps(made: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    if changed := _changed(made, now):
        yield Difference(f"it was made by other steps: {changed}; its state would be lost silently", GO_BACK)
    for step in sorted(made.keys() & now.keys()):
        if made[step] != now[step]:
            what = f'step "{step}" left state of version {made[step]}, this program has version {now[step]}'
            yield Difference(what, GO_BACK)


def _changed(made: Mapping[str, object], now: Mapping[str, object]) -> str:
    gone = [f'"{name}" is gone' for name in sorted(made.keys() - now.keys())]
    return ", ".join([*gone, *(f'"{name}" is new' for name in sorted(now.keys() - made.keys()))])


def _write(store: Store, manifest: Manifest) -> None:
    new = store.folder / f"{MANIFEST}.new"
    with new.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(store.folder / MANIFEST)
