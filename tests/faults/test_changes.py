"""Definitions change under load while views are killed: they act from their offset on, live, resumed and rebuilt."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from assets.batch import DerivedBatch
from assets.definition import Definition, Item
from assets.frame import Frame, Observation, Tick, decode_event, encode_frame, encode_tick
from assets.newest import Newest
from assets.stream import ASSET_STREAM, DEAD_LETTERS, partition_of
from operators._assets import Assets
from operators.live_values import LiveValues
from operators.rules import Rules
from replay._verify_serve import read_values
from sources.kafka import watermarks
from tests.changes import BASE, KEYFRAME, Writer, changed, item
from tests.faults import proof
from tests.faults.rig import ROLL_S, VIEWS, Rig
from tests.streams import S, tick

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

BEGIN = 1_800_000_000
ASSETS = [f"press-{n:02}" for n in range(1, 25)]
ALARM = BASE.derive["overheat"]
CHANGES: dict[str, Definition] = {
    "a rule's limits": changed(derive={"overheat": {**ALARM, "above": 70.0, "clear_below": 60.0}}),
    "a rule more": changed(derive={"hot": {**ALARM, "above": 50.0, "clear_below": None, "on_delay": 2 * S}}),
    "a rule less": changed(derive={"overheat": None}),
    "a unit": changed(items={"temperature": item("temperature", unit="K")}),
    "a path": changed(path="acme/hamburg/forming/line-2"),
    "an item more": changed(items={"force": Item(source="s", address="f", unit="kN")}),
    "an item less": changed(items={"power": None}),
    "a category": changed(items={"state": item("state", category="CONDITION")}),
    "a name": changed(
        items={"temperature": None, "core": item("temperature", was="temperature")},
        derive={"overheat": {**ALARM, "item": "core"}},
    ),
    "a source": changed(source="m"),
    "nothing": BASE,
}


class Plant:
    """Two gateways of which the second repeats an old definition of some assets; each step is five seconds of it."""

    def __init__(self, chance: random.Random, at: float) -> None:
        self._chance = chance
        self._writer, self._stubborn = Writer("gw-1", 100), Writer("gw-2", 50)
        self._models: dict[str, Definition] = {}
        self.at = at

    def step(self, name: str) -> Iterator[Frame | Tick]:
        """A restart of the gateway by which some assets have changed like this."""
        self._writer = Writer("gw-1", self._writer.run + 1)
        for asset in ASSETS:
            if asset not in self._models or self._chance.random() < 0.5:
                self._models[asset] = CHANGES[name]
            yield self._writer.define(self.at, self._models[asset], asset)
        for asset in self._chance.sample(ASSETS, 6):
            yield from self._disturbed(asset)
        for _ in range(5):
            self.at += 1
            for asset in ASSETS:
                told: dict[str, Any] = {each: self._chance.choice([55.0, 75.0, 95.0]) for each in self._numbers(asset)}
                yield self._writer.tell(self.at, asset, state=self._chance.choice(["Idle", "Execute"]), **told)
            yield tick(self.at, "s", "m", run=self._writer.run)

    def _numbers(self, asset: str) -> list[str]:
        return [name for name in self._models[asset].items if name != "state" and self._chance.random() < 0.8]

    def _disturbed(self, asset: str) -> Iterator[Frame]:
        """A conflict, a definition that cannot be read, or a removal after which the asset is back."""
        kind = self._chance.randrange(3)
        if kind == 0:
            yield self._stubborn.define(self.at, CHANGES["a path"], asset, again=True, link=False)
        elif kind == 1:
            broken = self._writer.frame(self.at, asset, Observation("_model", {"type": "press"}, 0, None, KEYFRAME))
            broken.model = f"broken-{self._writer.run}"
            yield broken
        else:
            yield self._writer.remove(self.at, asset)
            yield self._writer.define(self.at, self._models[asset], asset)


def write(rig: Rig, records: Iterator[Frame | Tick]) -> None:
    """Frames to the partition of their asset, ticks to all."""
    producer = Producer({"bootstrap.servers": rig.site.kafka.bootstrap})
    for record in records:
        if isinstance(record, Frame):
            home = partition_of(record.asset, 12)
            producer.produce(ASSET_STREAM, encode_frame(record), record.asset.encode(), home)
        else:
            for partition in range(12):
                producer.produce(ASSET_STREAM, encode_tick(record), None, partition)
        producer.poll(0)
    assert producer.flush(60) == 0


def test_changes_under_kills_act_from_their_offset_on_in_every_view(rig: Rig, chance: random.Random) -> None:
    written = sum(high for _, high in watermarks(rig.site.kafka, ASSET_STREAM).values())
    plant = Plant(chance, BEGIN + written)
    rig.start(*VIEWS)
    write(rig, plant.step("nothing"))
    for name in chance.sample(list(CHANGES), len(CHANGES)):
        write(rig, plant.step(name))
        view = chance.choice(VIEWS)
        rig.kill(view)
        if chance.random() < 0.3:
            rig.forget(view)
        rig.start(view)
    end = plant.at + 2 * ROLL_S
    write(rig, (tick(at, "s", "m", run=999) for at in (plant.at + 1, end, end + 1)))
    rig.finish()
    rig.stop(*VIEWS)
    derived = proof.prove_derived(rig.site, batches := proof.stream(rig.site))
    fold: dict[str, bytes] = {}
    refused: Counter[tuple[str, str]] = Counter()
    for partition in range(12):
        live, newest, rules = LiveValues(), Newest(), Assets(partition, "rules", Rules)
        for batch in batches:
            if batch.partition == partition:
                newest.take(live.batch(batch))
                rules.batch(batch)
        refused.update((each.reason, each.origin) for each in rules.rejected())
        told = derived[partition]
        events = [decode_event(value) for _, value in told]
        newest.take(live.derived(DerivedBatch(partition, 0, len(told), [offset for offset, _ in told], events)))
        fold.update({subject: value.payload for subject, value in newest.values.items()})
    assert read_values(rig.site, 1, 1) == fold
    assert {reason for reason, _ in refused} == {"conflict", "definition"}
    assert letters(rig) == refused
    proof.prove_rebuilt(rig.site)


def letters(rig: Rig) -> Counter[tuple[str, str]]:
    """Reason and origin of all dead letters."""
    consumer = Consumer({"bootstrap.servers": rig.site.kafka.bootstrap, "group.id": "letters"})
    marks = watermarks(rig.site.kafka, DEAD_LETTERS)
    consumer.assign([TopicPartition(DEAD_LETTERS, p, low) for p, (low, _) in marks.items()])
    found: Counter[tuple[str, str]] = Counter()
    while found.total() < sum(high - low for low, high in marks.values()):
        for message in consumer.consume(1000, 1.0):
            assert not message.error()
            headers = {name: (text or b"").decode() for name, text in cast("list[Any]", message.headers())}
            found[headers["reason"], headers["origin"]] += 1
    consumer.close()
    return found
