"""How any operator is fed, run and compared: by the types of its annotations, so a newcomer is found by itself."""

import hashlib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass
from itertools import groupby
from random import Random
from typing import Any, Final, NamedTuple, get_args, get_type_hints

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.testing import TestingSource

import operators
from assets.batch import Batch, DerivedBatch, LiveValue, Outgoing, RawBatch, Rejected, stream_key
from assets.frame import Frame, Tick, encode_frame, encode_tick
from assets.newest import Newest
from assets.reading import Message
from assets.stream import own_partitions
from operators.asset_logic import AssetLogic, Change, Changes
from operators.decode import FrameDecoder, decode_events
from operators.normalize import Said
from tests.operators.worker import Keyed, State, Worker
from tests.operators.world import BINDINGS, MODELS, OF_SOURCE, PARTITIONS, World, normalizer, raw_batches
from tests.streams import S

BASES: Final = {"asset_logic", "rule"}
"""Public files that say what an engineer's classes look like."""


class Busy(AssetLogic):
    """An engineer's class that uses all there is: every hook, a timer, nested state."""

    seen: dict[str, list[int]] = {}
    last: str | None = None

    def on_observation(self, o: Any) -> Changes:
        self.seen.setdefault(o.item, []).append(o.time)
        self.due = o.time + 3 * S if o.item != "power" else None
        return [Change("seen", len(self.seen[o.item]), self.last, self.now, o.status)]

    def on_time(self, now: int) -> Changes:
        self.due = now + 600 * S if len(self.seen) > 2 and now % 2 else None
        return [Change("quiet", True, time=now)]

    def on_link(self, source: str, available: bool, at: int) -> Changes:
        self.last = source
        return [Change("link", available, time=at), Change("link", source)]

    def on_gap(self, items: Any, start: int, end: int) -> Changes:
        return [Change("gap", end - start)]

    def on_removed(self, at: int) -> Changes:
        return [Change("seen", None)]


# ---- what is fed to an operator


class Feed(NamedTuple):
    """The parts of each key's stream, and how some of them become items; `ordered`: keys may not change places."""

    parts: list[tuple[str, Any]]
    pack: Callable[[list[Any]], list[Any]]
    ordered: bool = False


def _of(found: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(key, part) for key, parts in sorted(found.items()) for part in parts]


def _raw(world: World) -> Feed:
    both = {key: list(records) for key, records in world.stream.items()}
    for key, records in world.derived.items():
        ahead = Random(f"{world.seed} {key}").randint(0, len(both.get(key, [])))
        both[key] = [*both.get(key, [])[:ahead], *records, *both.get(key, [])[ahead:]]
    return Feed(_of(both), raw_batches)


def _frames(world: World) -> Feed:
    """The stream, read from its begin or from somewhere in the middle: key frames let a reader begin there."""
    chance = Random(world.seed)
    late = {key: chance.choice([0, 0, len(records) // 3]) for key, records in sorted(world.stream.items())}
    read = {key: records[late[key] :] for key, records in world.stream.items()}
    return Feed(_of(read), lambda records: [FrameDecoder(PARTITIONS)(raw)[0] for raw in raw_batches(records)])


def _events(world: World) -> Feed:
    return Feed(_of(world.derived), lambda records: [decode_events(raw)[0] for raw in raw_batches(records)])


def _listed(parts: list[Any]) -> list[list[Any]]:
    return [parts]


FEEDS: Final[dict[Any, Callable[[World], Feed]]] = {
    RawBatch: _raw,
    Batch: _frames,
    DerivedBatch: _events,
    list[Rejected]: lambda world: Feed(_of(world.rejected()), _listed),
    list[Message]: lambda world: Feed(world.messages(), _listed),
    list[Said]: lambda world: Feed(world.said(), _listed, ordered=True),
}
"""What an operator is fed, by the type of the items of its stream."""

BEFORE_THE_STREAM: Final = (list[Message], list[Said])
"""What comes from devices cannot be read again: each start is a new run, and a snapshot may hold nothing."""

OPTIONS: Final[dict[str, Any]] = {
    "partitions": PARTITIONS,
    "flow": "derive",
    "step": "decode",
    "normalizers": {source: lambda source=source: normalizer(source) for source in BINDINGS},
    "gateway": "gw-1",
    "run": 7,
    "models": MODELS,
    "sources": OF_SOURCE,
    "gone": ("old-01", "old-02"),
}
"""What an operator is told besides its streams, by the name of the argument; `logic` is each class in turn."""


# ---- what operators give, and how it is compared

Compared = dict[str, Any]
"""What must be the same, by whatever order is promised for."""


def _in_order(each: Callable[[Any], Iterator[tuple[str, object]]]) -> Callable[[list[Keyed]], Compared]:
    def compared(items: list[Keyed]) -> Compared:
        found: Compared = {}
        for key, item in items:
            for of, thing in each(item):
                found.setdefault(f"{key} {of}", []).append(repr(thing))
        return found

    return compared


def _fold(items: list[Keyed]) -> Compared:
    folds: dict[str, Newest] = {}
    for key, values in items:
        folds.setdefault(key, Newest()).take(values)
    return {f"{key} {subject}": repr(value) for key, fold in folds.items() for subject, value in fold.values.items()}


def _wire(record: Frame | Tick) -> bytes:
    return encode_frame(record) if isinstance(record, Frame) else encode_tick(record)


RESULTS: Final[dict[Any, Callable[[list[Keyed]], Compared]]] = {
    Batch: _in_order(lambda b: (("", (o, _wire(r))) for o, r in zip(b.offsets, b.records, strict=True))),
    DerivedBatch: _in_order(lambda b: (("", both) for both in zip(b.offsets, b.events, strict=True))),
    list[Rejected]: _in_order(lambda some: ((each.origin.split("/")[0], each) for each in some)),
    list[Outgoing]: _in_order(lambda some: (("", each) for each in some)),
    list[LiveValue]: _fold,
    list[Said]: _in_order(lambda some: (("", each) for each in some)),
}
"""What must be the same of a result, by the type of its items: records in order per key; of live values the last."""


# ---- the operators there are


@dataclass(frozen=True)
class Case:
    """An operator, with one logic if it takes one."""

    module: str
    name: str
    function: Callable[..., Any]
    logic: type[AssetLogic] | None = None

    def __str__(self) -> str:
        return f"{self.module}.{self.name}{f' {self.logic.__name__}' if self.logic else ''}"

    @property
    def streams(self) -> dict[str, Any]:
        """The types of the items of its streams, by argument."""
        return {name: of for name, hint in self._hints if (of := item_type(hint)) is not None}

    @property
    def _hints(self) -> list[tuple[str, Any]]:
        hints = get_type_hints(self.function)
        return [(name, hints[name]) for name in inspect.signature(self.function).parameters if name != "step_id"]

    @property
    def results(self) -> dict[str, Any]:
        """The types of the items of what it gives."""
        given = get_type_hints(self.function)["return"]
        hints = get_type_hints(given) if is_dataclass(given) else {"down": given}
        return {name: item_type(hint) for name, hint in hints.items()}

    def options(self) -> dict[str, Any]:
        """The other arguments."""
        known = OPTIONS | ({"logic": self.logic} if self.logic else {})
        return {name: known[name] for name, _ in self._hints if name not in self.streams}

    @property
    def resumes(self) -> bool:
        """Whether it goes on after a restart; before the stream each start is a new run."""
        return not any(of in BEFORE_THE_STREAM for of in self.streams.values())

    def problems(self) -> list[str]:
        """What this contract does not know of the operator."""
        required = [name for name, hint in self._hints if item_type(hint) is None]
        known = {*OPTIONS, "logic"}
        return [
            *(f"{self}: no generator for {of}; add one to FEEDS" for of in self.streams.values() if of not in FEEDS),
            *(
                f"{self}: no comparison of {of}; add one to RESULTS"
                for of in self.results.values()
                if of not in RESULTS
            ),
            *(f'{self}: no value for "{name}"; add one to OPTIONS' for name in required if name not in known),
        ]

    def build(self, saved: State | None = None) -> tuple[Worker, dict[str, Stream[Any]]]:
        """A worker with this operator alone, and its streams."""
        flow = Dataflow("contract")
        streams: dict[str, Stream[Any]] = {name: op.input(name, flow, TestingSource([])) for name in self.streams}
        return Worker(flow, named(self.function("under-test", **streams, **self.options())), saved), streams

    def compared(self, out: dict[str, list[Keyed]]) -> dict[str, Compared]:
        """What must be the same of all it has given."""
        return {name: RESULTS[of](out[name]) for name, of in self.results.items()}


def named(given: Any) -> dict[str, Stream[Any]]:
    """The result streams of an operator."""
    return (
        {field.name: getattr(given, field.name) for field in fields(given)}
        if is_dataclass(given) and not isinstance(given, Stream)
        else {"down": given}
    )


def item_type(hint: Any) -> Any:
    """The type of the items of a keyed stream; None for anything else."""
    if isinstance(getattr(hint, "__origin__", None), type) and issubclass(hint.__origin__, Stream):
        return get_args(get_args(hint)[0])[1]
    return None


def modules() -> dict[str, Any]:
    """The public modules of operators/."""
    names = [m.name for m in pkgutil.iter_modules(operators.__path__) if not m.name.startswith("_")]
    return {name: importlib.import_module(f"operators.{name}") for name in names}


def logics() -> list[type[AssetLogic]]:
    """All classes of assets' logic in operators/, and one that uses all there is."""
    found = [
        thing
        for name, module in modules().items()
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, AssetLogic) and thing.__module__ == f"operators.{name}"
    ]
    return [*(logic for logic in found if logic is not AssetLogic), Busy]


def cases() -> list[Case]:
    """All operators of operators/, each with every logic it can take."""
    found = []
    for name, module in modules().items():
        for thing in vars(module).values():
            if hasattr(thing, "_op_cls") and thing.__module__ == f"operators.{name}":
                takes_logic = "logic" in inspect.signature(thing).parameters
                found += [Case(name, thing.__name__, thing, each) for each in (logics() if takes_logic else [None])]
    return found


# ---- running them


class Play:
    """The parts of a world's streams, handed out piece by piece."""

    def __init__(self, case: Case, world: World) -> None:
        self._feeds = {name: FEEDS[of](world) for name, of in case.streams.items()}
        self._left: dict[tuple[str, str | None], list[tuple[str, Any]]] = {}
        for name, feed in self._feeds.items():
            for key, part in feed.parts:
                self._left.setdefault((name, None if feed.ordered else key), []).append((key, part))

    def whole(self) -> Iterator[tuple[str, list[Keyed]]]:
        """Everything of each stream and key in one piece."""
        for name, key in self._left:
            yield name, self._items(name, self._left[name, key])

    def cut(self, chance: Random, owned: Collection[str] | None = None) -> Iterator[tuple[str, list[Keyed]]]:
        """Pieces of any size, of any stream and key in turn, some of them several in one hand."""
        left = {at: list(parts) for at, parts in self._left.items() if owned is None or at[1] in owned}
        while left:
            name, key = chance.choice(sorted(left, key=str))
            items: list[Keyed] = []
            for _ in range(chance.choice([1, 1, 3])):
                size = chance.choice([1, 1, 2, 5, 20])
                items += self._items(name, left[name, key][:size])
                left[name, key] = left[name, key][size:]
            if not left[name, key]:
                del left[name, key]
            yield name, items

    def _items(self, name: str, parts: list[tuple[str, Any]]) -> list[Keyed]:
        pack = self._feeds[name].pack
        return [
            (key, item)
            for key, some in groupby(parts, key=lambda each: each[0])
            for item in pack([part for _, part in some])
        ]


def run_copies(case: Case, world: World, copies: int, chance: Random) -> dict[str, list[Keyed]]:
    """What copies give that own every so many-th partition, each by itself."""
    out: dict[str, list[Keyed]] = {name: [] for name in case.results}
    for copy in range(copies):
        owned = {stream_key(partition) for partition in own_partitions(PARTITIONS, f"{copy}/{copies}")}
        made = run_cut(case, Play(case, world).cut(chance, owned), chance)
        for name in out:
            out[name] += made[name]
    return out


def run(case: Case, pieces: Iterator[tuple[str, list[Keyed]]]) -> dict[str, list[Keyed]]:
    """What an operator gives in one run."""
    worker, streams = case.build()
    for name, items in pieces:
        worker.push(streams[name], items)
    return worker.out


def run_cut(case: Case, pieces: Iterator[tuple[str, list[Keyed]]], chance: Random) -> dict[str, list[Keyed]]:
    """The same with snapshots and resumes between the pieces."""
    worker, streams = case.build()
    out: dict[str, list[Keyed]] = {name: [] for name in worker.out}
    saved: State = {}
    for name, items in pieces:
        worker.push(streams[name], items)
        what = chance.random()
        if what < 0.5:
            continue
        saved |= worker.snapshot()
        assert all(type(snapshot) is bytes for snapshot in saved.values()), f"{case} must save bytes: they never change"
        if what < 0.75 and case.resumes:
            for result, made in worker.out.items():
                out[result] += made
            worker, streams = case.build(saved)
    return {result: out[result] + made for result, made in worker.out.items()}


def digest(seeds: int, size: int) -> str:
    """A hash of what all operators make of some worlds."""
    found = hashlib.sha256()
    for case in cases():
        for seed in range(seeds):
            out = case.compared(run(case, Play(case, World(seed, size)).whole()))
            found.update(repr((str(case), out)).encode())
    return found.hexdigest()
