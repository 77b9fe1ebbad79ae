"""A small random plant and all that may be said of it: good, bad, late, moved, removed and poisonous.

The same seed gives the same world, and a smaller size its beginning.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from random import Random
from typing import Any, Final, NamedTuple

import yaml

from assets.batch import RawBatch, Rejected, stream_key
from assets.definition import Counter, Definition, Item, SourceModel
from assets.frame import Flag, Frame, Observation, SourceAccount, Tick, encode_event, encode_frame, encode_tick
from assets.plant import Binding
from assets.reading import Gap, Link, Mark, Message, Reading, Readings
from assets.stream import ASSET_STREAM, partition_of, state_topic
from operators._assets import Assets
from operators.decode import MOST_BYTES, FrameDecoder, decode_events
from operators.normalize import Normalizer, Said
from operators.rules import KINDS, Rules
from tests.streams import S

PARTITIONS: Final = 3
ASSETS: Final = ("press-01", "press-02", "press-03", "press-04", "oven-01", "oven-03", "oven-04", "oven-02")
BEGIN: Final = 1_800_000_000 * S
HOUR: Final = 3600 * S
FLAGS: Final = [0] * 10 + [int(flag) for flag in Flag]
STATUSES: Final = [0] * 8 + [0x408F0000, 0x80310000]
NUMBERS: Final = [50.0, 75.0, 85.0, 95.0, 95.0, 120, -0.0, 5e-324, -1e308, (1 << 53) + 1, 1 << 64, -(10**40), True]
LARGE: Final = b" " * (MOST_BYTES + 1)
WORDS: Final = [
    "Idle",
    "Execute",
    "Held",
    "Grün\0\u2028",
    "",
    6,
    6.0,
    True,
    None,
    1 << 70,
    [1, {"a": None}],
    {"b": [2]},
]


def example(kind: str) -> tuple[str, dict[str, Any]]:
    """The metric and the options that the docstrings of a rule kind give as its example."""
    spec = KINDS[kind]
    found = re.search(r"`(\w+: \{.*?\})`", f"{spec.__doc__}\n{sys.modules[spec.__module__].__doc__}")
    assert found, f"operators/{kind}.py has no example in its docstrings; write one as `metric: {{{kind}: item}}`"
    [(metric, written)] = yaml.safe_load(found[1]).items()
    options = {("item" if key == kind else key): value for key, value in written.items() if value is not None}
    return metric, {"rule": kind, **spec.model_validate(options).model_dump(mode="json", exclude_none=True)}


def other(spec: dict[str, Any]) -> dict[str, Any]:
    """The rule with other options, if it can have others."""
    return {
        name: value + (1 if type(value) is float else 2 * S) if type(value) in {int, float} else value
        for name, value in spec.items()
    }


EXAMPLES: Final = dict(map(example, KINDS))


def category(item: str) -> Any:
    """What an item must be for the rules that watch it."""
    for spec in EXAMPLES.values():
        if spec.get("item") == item:
            try:
                KINDS[spec["rule"]].check_item(Item(category="EVENT", source="", address=""))
            except ValueError:
                return "SAMPLE"
    return "EVENT" if item != "power" else "SAMPLE"


CATEGORIES: Final = {
    name: category(name) for name in sorted({"power", *(s["item"] for s in EXAMPLES.values() if s.get("item"))})
}


def _definition(derive: dict[str, Any], path: str = "1", **options: Any) -> Definition:
    items = {
        name: Item(category=of, source="m" if name == "power" else "s", address=name, unit=f"u{path}")
        for name, of in CATEGORIES.items()
    }
    sources = {"s": SourceModel(10 * S), "m": SourceModel(4 * S)}
    usual: dict[str, Any] = {"type": "t", "path": f"acme/hamburg/forming/line-{path}", "source": "s"}
    return Definition(**{**usual, "items": items, "sources": sources, "derive": derive, **options})


@cache
def definitions() -> tuple[Definition, ...]:
    """Definitions that may follow each other: usual, changed, moved, poorer, strange, and one that is incomplete."""
    changed = {metric: other(spec) for metric, spec in EXAMPLES.items()}
    twice = EXAMPLES | {f"{metric}2": spec for metric, spec in changed.items()}
    strange = {"newer": {"rule": "not-known-yet"}, "wrong": {"rule": "alarm", "item": 1 << 70}, **EXAMPLES}
    huge = {"power": Item(source="m", address="", missing=(1 << 70, "x"), counter=Counter(1 << 65))}
    return (
        _definition(EXAMPLES),
        _definition(twice),
        _definition(twice, "2"),
        _definition(changed, "2"),
        _definition(dict(sorted(EXAMPLES.items())[1:])),
        _definition(strange, source=None, sources={"s": SourceModel(2 * S), "m": SourceModel(10 * S)}),
        _definition(EXAMPLES, "3", items=huge),
        _definition(EXAMPLES, sources={}),
        _definition({}),
    )


class Raw(NamedTuple):
    """One record of a topic; the reader goes on at `next`."""

    topic: str
    partition: int
    first: int
    offset: int
    next: int
    key: bytes | None
    value: bytes | None


class World:
    """One world. What is not bytes is made anew at every call: operators may write into what they are given."""

    def __init__(self, seed: int, size: int) -> None:
        self.seed, self.size = seed, size

    def __repr__(self) -> str:
        return f"World({self.seed}, {self.size})"

    @cached_property
    def stream(self) -> dict[str, list[Raw]]:
        """The records of `asset-stream`."""
        topic = _Topic(ASSET_STREAM, Random(f"{self.seed} holes"))
        for partition, key, value in _Gateways(Random(f"{self.seed} stream")).records(self.size):
            topic.add(partition, key, value)
        return topic.records

    @cached_property
    def derived(self) -> dict[str, list[Raw]]:
        """The records of `asset-state.g1`: what the rules make of the stream, and poison."""
        chance = Random(f"{self.seed} derived")
        topic = _Topic(state_topic(1), chance)
        for records in self.stream.values():
            assets = Assets(records[0].partition, "rules", Rules)
            for raw in raw_batches(records):
                for event in assets.batch(FrameDecoder(PARTITIONS)(raw)[0]):
                    topic.add(raw.partition, event.asset.encode(), encode_event(event))
                    if chance.random() < 0.05:
                        topic.add(raw.partition, b"x", chance.choice([None, b"", b"{}", b'{"v":9}']))
        return topic.records

    def rejected(self) -> dict[str, list[Rejected]]:
        """What cannot be decoded of both topics."""
        found: dict[str, list[Rejected]] = {}
        for key, records in self.stream.items():
            decode = FrameDecoder(PARTITIONS)
            found[key] = [rejected for raw in raw_batches(records) for rejected in decode(raw)[1]]
        for key, records in self.derived.items():
            found.setdefault(key, []).extend(r for raw in raw_batches(records) for r in decode_events(raw)[1])
        return found

    def messages(self) -> list[tuple[str, Message]]:
        """What the sources of a gateway hand over, in the order in which it comes."""
        return list(_messages(Random(f"{self.seed} messages"), self.size))

    def said(self) -> list[tuple[str, Said]]:
        """What normalization says of it."""
        normalizers = {source: normalizer(source) for source in BINDINGS}
        return [(key, said) for key, message in self.messages() for said in normalizers[key].take([message])[0]]


def raw_batches(records: list[Raw]) -> list[RawBatch]:
    """Records as batches of their topics."""
    found: list[RawBatch] = []
    for r in records:
        if not found or found[-1].topic != r.topic:
            found.append(RawBatch(r.topic, r.partition, r.first, r.first, [], [], []))
        last = found[-1]
        last.next = r.next
        last.offsets.append(r.offset)
        last.keys.append(r.key)
        last.values.append(r.value)
    return found


class _Topic:
    """Records with offsets, which have holes."""

    def __init__(self, name: str, chance: Random) -> None:
        self.records: dict[str, list[Raw]] = {}
        self._name, self._chance = name, chance

    def add(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        records = self.records.setdefault(stream_key(partition), [])
        first = records[-1].next if records else 0
        offset = first + self._chance.choice([0, 0, 0, 2])
        hole = self._chance.choice([0, 0, 0, 1])
        records.append(Raw(self._name, partition, first, offset, offset + 1 + hole, key, value))


class _Gateways:
    """Two gateways an hour apart, each with a source; assets tell of themselves through both."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._now = BEGIN
        self._run = {"gw-1": 1, "gw-2": 1}
        self._defined: dict[str, Definition] = {}
        self._seq = 0

    def records(self, size: int) -> Iterator[tuple[int, bytes | None, bytes | None]]:
        """So many records, after the definitions of most assets."""
        for asset in ASSETS[:-1]:
            first = self._chance.choice([definitions()[0]] * 6 + [*definitions()])
            yield self._frame(asset, self._model(asset, first), Observation("_availability", "AVAILABLE"))
        for _ in range(size):
            self._now += self._chance.choice([0, 1, 10_000, S, 2 * S + 500_000, 7 * S])
            yield from self._something()

    def _something(self) -> Iterator[tuple[int, bytes | None, bytes | None]]:
        chance, kind = self._chance, self._chance.random()
        asset = chance.choice(ASSETS)
        if kind < 0.2:
            yield from self._ticks()
        elif kind < 0.28:
            keyframe = chance.choice([0, int(Flag.KEYFRAME)])
            word = chance.choice(["AVAILABLE", "AVAILABLE", "UNAVAILABLE", None])
            yield self._frame(asset, Observation("_availability", word, 0, None, keyframe))
        elif kind < 0.38:
            told = self._model(asset, chance.choice(definitions()))
            yield self._frame(asset, told, *self._values(chance.choice([0, 2])))
        elif kind < 0.43:
            yield self._frame(asset, Observation("_gap", self._gap()), *self._values(1))
        elif kind < 0.46:
            yield self._frame(asset, Observation("_removed", True), *self._values(chance.choice([0, 1])))
            self._defined.pop(asset, None)
        elif kind < 0.55:
            yield self._poison(asset)
        else:
            yield self._frame(asset, *self._values(chance.choice([0, 1, 1, 2, 4])))

    def _frame(self, asset: str, *told: Observation) -> tuple[int, bytes, bytes]:
        source = self._chance.choice(["s", "s", "m"])
        gateway, at = self._clock(source)
        self._seq += 1
        known = self._defined.get(asset)
        model = known.model if known and self._chance.random() < 0.95 else "0123456789ab"
        made = Frame(1, asset, source, gateway, self._run[gateway], self._seq, at, model, list(told))
        return partition_of(asset, PARTITIONS), asset.encode(), encode_frame(made)

    def _clock(self, source: str) -> tuple[str, int]:
        """The gateway of a source and its time, which may leap."""
        leap = self._chance.choice([0] * 20 + [-HOUR, 20 * S])
        return ("gw-2", self._now + HOUR + leap) if source == "m" else ("gw-1", self._now + leap)

    def _model(self, asset: str, definition: Definition) -> Observation:
        """The definition of an asset; now and then one that cannot be read."""
        self._defined[asset] = definition
        flags = self._chance.choice([0, int(Flag.KEYFRAME)])
        broken: Any = self._chance.choice([None, 5, {"type": "t"}, {**definition.value(), "items": 1}])
        value = definition.value() if self._chance.random() < 0.8 else broken
        return Observation("_model", value, 0, None, flags)

    def _values(self, count: int) -> list[Observation]:
        return [self._value() for _ in range(count)]

    def _value(self) -> Observation:
        chance, item = self._chance, self._chance.choice([*CATEGORIES, "unknown"])
        status, at = chance.choice(STATUSES), self._now
        usual = NUMBERS if CATEGORIES.get(item) == "SAMPLE" else WORDS
        value: Any = chance.choice(usual if chance.random() < 0.95 else [*NUMBERS, *WORDS])
        time = chance.choice([None, at, at, at - 3 * S, at - HOUR, at + HOUR])
        return Observation(item, None if status >> 31 else value, status, time, chance.choice(FLAGS))

    def _gap(self) -> Any:
        chance, now = self._chance, self._now
        items = chance.choice([list(CATEGORIES), ["power"], [], "all", None])
        end = chance.choice([now, now - S, now + S, None])
        return chance.choice(
            [{"items": items, "from": now - chance.choice([S, 9 * S]), "to": end, "lost": 1}] * 9 + [1]
        )

    def _ticks(self) -> Iterator[tuple[int, None, bytes]]:
        """A tick of one gateway in some or all partitions; sometimes of a new run."""
        chance = self._chance
        source = chance.choice(["s", "s", "m"])
        gateway, at = self._clock(source)
        if chance.random() < 0.05:
            self._run[gateway] += 1
        named = chance.choice([(), (source,), (source,), (source,), (source, "z"), ("z", source)])
        mark = chance.choice([at, at, at, at, None])
        accounts = {name: SourceAccount(mark, 1, 1, {}, {}, 0) for name in named}
        for partition in chance.choice([range(PARTITIONS), range(PARTITIONS), range(1)]):
            self._seq += 1
            yield partition, None, encode_tick(Tick(1, gateway, self._run[gateway], self._seq, at, accounts))

    def _poison(self, asset: str) -> tuple[int, bytes | None, bytes | None]:
        """A record nobody can use."""
        home, key, value = self._frame(asset, *self._values(1))
        forms: list[tuple[int, bytes | None, bytes | None]] = [
            (home, key, b"{"),
            (home, key, b""),
            (home, key, None),
            (home, None, None),
            (home, key, b"\xff"),
            (home, key, value.replace(b'"v":1', b'"v":9')),
            (home, key, value.replace(b'"seq"', b'"sequence"')),
            (home, key, value.replace(b'"received":1', b'"received":"1"')),
            (home, key, LARGE if self._chance.random() < 0.5 else b"[" * 9_000),
            (home, b"somebody-else", value),
            ((home + 1) % PARTITIONS, key, value),
            (home, b"Press 1", value.replace(key, b"Press 1")),
            (home, None, value),
        ]
        return self._chance.choice(forms)


BINDINGS: Final[dict[str, dict[str, list[Binding]]]] = {
    "s": {
        "1": [Binding("press-01", "temperature", Item(source="s", address="1", deadband=0.5, heartbeat=5 * S))],
        "2": [Binding("press-01", "state", Item(category="EVENT", source="s", address="2", states="packml"))],
        "3": [Binding("press-02", "parts", Item(source="s", address="3", counter=Counter(65536)))],
        "4": [
            Binding("press-02", "speed", Item(source="s", address="4", scale=0.1, range=(0, 10), missing=(65535,))),
            Binding("oven-01", "speed", Item(source="s", address="4")),
        ],
    },
    "m": {
        "1": [Binding("oven-01", "power", Item(source="m", address="1"))],
        "2": [
            Binding("oven-02", "mode", Item(category="EVENT", source="m", address="2", enum={"0": "off", "1": "on"}))
        ],
    },
}
"""What a gateway reads: one asset has two sources, one address feeds two assets."""
OF_SOURCE: Final = {s: {b.asset for some in bound.values() for b in some} for s, bound in BINDINGS.items()}
MODELS: Final[Mapping[str, Definition]] = {asset: definitions()[0] for asset in ASSETS}


def normalizer(source: str) -> Normalizer:
    """The normalizer of a source, which goes on from a value of an earlier run."""
    made = Normalizer(source, BINDINGS[source], key_frame_us=20 * S, run=1)
    made.seed({("press-01", "temperature"): Observation("temperature", 85.0, 0, BEGIN, 0, BEGIN)}, BEGIN - S)
    return made


def _messages(chance: Random, size: int) -> Iterator[tuple[str, Message]]:
    now = BEGIN
    for _ in range(size):
        source, kind = chance.choice(["s", "s", "m"]), chance.random()
        now += chance.choice([0, 1, 400_000, S, 7 * S, -S])
        if kind < 0.3:
            yield source, Mark(now, chance.random() < 0.8, 0, 0, chance.random() < 0.05)
        elif kind < 0.4:
            yield source, Link(now, chance.random() < 0.6, "no reply")
        elif kind < 0.5:
            addresses = chance.choice([[], ["1"], ["4", "?"], ["2", "1"]])
            yield (
                source,
                Gap(addresses, now - S, now, "r", chance.choice([None, 0, 3]), chance.choice([None, {"1": 2}])),
            )
        else:
            told = [_reading(chance, now) for _ in range(chance.choice([0, 1, 1, 3]))]
            yield source, Readings(now, told, chance.choice([None, None, now, now + HOUR]))


def _reading(chance: Random, now: int) -> Reading:
    value: Any = chance.choice([*NUMBERS, *WORDS, 65535, float("nan"), float("inf"), "\ud800", b"x", 10**5000])
    time = chance.choice([None, now, now - S, now + HOUR, BEGIN])
    return Reading(chance.choice(["1", "2", "3", "4", "?"]), value, chance.choice(STATUSES), time, chance.choice(FLAGS))
