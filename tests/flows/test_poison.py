"""Poison on the stream: every view puts it aside with reason and origin, and keeps all else in order."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from assets.frame import decode_event, encode_frame, encode_tick
from assets.stream import ASSET_STREAM, DEAD_LETTERS, partition_of, state_topic
from deploy.stack import Stack
from deploy.wait import until
from flows._site import Site, View
from operators._assets import Assets
from operators.decode import FrameDecoder
from operators.rules import Rules
from replay.audit import audit
from sources.kafka import read_range, watermarks
from tests.flows.bench import BEGIN, Bench
from tests.streams import S, frame, tick

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ASSETS = [f"press-{n:02}" for n in range(1, 7)]
ASSET = ASSETS[0]
HOME = partition_of(ASSET, 12)
AWAY = (HOME + 1) % 12
GOOD = encode_frame(frame(BEGIN, ("temperature", 1), asset=ASSET))
LARGE = {"message.max.bytes": 8_000_000, "compression.type": "zstd"}
"""Compressed, five megabytes pass the limits of any broker."""


def frame_with(changed: bytes) -> bytes:
    """A good frame with another `received`."""
    return GOOD.replace(b'"received":%d' % (BEGIN * S), changed)


class Poison(NamedTuple):
    """A record nobody can use: what is wrong with it, and why it is refused."""

    reason: str
    value: bytes | None
    key: bytes | None = ASSET.encode()
    partition: int = HOME


POISON = {
    "not JSON": Poison("not_json", b"{"),
    "no UTF-8": Poison("not_json", b"\xff\xfe"),
    "nested without end": Poison("contract", GOOD.replace(b"1,0,null", b"[" * 9_000 + b"]" * 9_000 + b",0,null")),
    "empty": Poison("not_json", b""),
    "null": Poison("null_value", None),
    "null without a key": Poison("null_value", None, None),
    "unknown version": Poison("unknown_version", GOOD.replace(b'"v":1', b'"v":99')),
    "missing field": Poison("contract", GOOD.replace(b'"seq":1,', b"")),
    "wrong type": Poison("contract", GOOD.replace(b'"seq":1', b'"seq":"one"')),
    "another thing": Poison("contract", b"[1,2,3]"),
    "a frame without a key": Poison("contract", GOOD, None),
    "a tick with a key": Poison("contract", encode_tick(tick(BEGIN, "s"))),
    "an instant after the year 9999": Poison("contract", frame_with(b'"received":253402300800000000')),
    "a negative instant": Poison("contract", frame_with(b'"received":-1')),
    "a float without end": Poison("contract", GOOD.replace(b"1,0,null", b"1e999,0,null")),
    "an integer without end": Poison("contract", GOOD.replace(b"1,0,null", b"1" + b"0" * 9_000 + b",0,null")),
    "a status of 64 bits": Poison("contract", GOOD.replace(b"1,0,null", b"1,99999999999,null")),
    "nested as deep as is read": Poison("contract", GOOD.replace(b"1,0,null", b"[" * 989 + b"]" * 989 + b",0,null")),
    "a frame beyond all numbers": Poison("contract", GOOD.replace(b"[[", b"[" + b'["x"],' * 40_000 + b"[")),
    "five megabytes": Poison("too_large", b"x" * 5_000_000),
    "the key of another asset": Poison("wrong_key", GOOD, b"somebody-else"),
    "no asset's id": Poison("invalid_asset", GOOD.replace(ASSET.encode(), b"Press 1"), b"Press 1"),
    "another partitioner's partition": Poison("wrong_partition", GOOD, partition=AWAY),
}

STRANGE = {
    "integer beyond 64 bits": 1 << 64,
    "integer beyond any float": 10**400,
    "large float": -1e308,
    "control characters": "\0\x1f\u2028",
    "nested": [{"a": [[[[None]]]]}],
}
"""Values that are legal, however absurd: nobody may fall over them."""


@pytest.fixture(scope="module")
def bench(servers: Stack, data: Path) -> Bench:
    """Six assets with poison and strange values between good records."""
    made = Bench(servers, data, ASSETS, PENSTOCK_ROLL="2s")
    made.define()
    made.write(3)
    producer = Producer({**LARGE, "bootstrap.servers": servers.kafka_bootstrap})
    for n, poison in enumerate(POISON.values()):
        producer.produce(ASSET_STREAM, poison.value, poison.key, poison.partition)
        producer.flush()
        if n % 5 == 0:
            made.write(1)
    for value in STRANGE.values():
        for item in ("temperature", "state", "power"):
            made.raw(HOME, ASSET.encode(), encode_frame(frame(BEGIN + 10, (item, value), asset=ASSET)))
    made.write(8)
    return made


class Letter(NamedTuple):
    """A dead letter as it stands in its topic."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, str]


def letters(bench: Bench, flow: str) -> list[Letter]:
    """What a flow has put aside, in order."""
    consumer = Consumer({"bootstrap.servers": bench.servers.kafka_bootstrap, "group.id": "letters"})
    marks = watermarks(bench.kafka, DEAD_LETTERS)
    consumer.assign([TopicPartition(DEAD_LETTERS, p, low) for p, (low, _) in marks.items()])
    found: list[Letter] = []
    waiting = sum(high - low for low, high in marks.values())
    while waiting:
        for message in consumer.consume(waiting, 1.0):
            assert not message.error()
            waiting -= 1
            headers = {name: (text or b"").decode() for name, text in cast("list[Any]", message.headers())}
            found.append(Letter(message.key(), message.value(), headers))
    consumer.close()
    return [letter for letter in found if letter.headers["flow"] == flow]


@pytest.mark.parametrize("view", ["derive", "serve", "archive"])
def test_poison_becomes_dead_letters_with_reason_and_origin(bench: Bench, view: View) -> None:
    flow = bench.flow(view, recovery=True).start()
    derived = state_topic(1) if view != "derive" else ASSET_STREAM
    until(lambda: flow.poll() is not None or (bench.finished(view) and bench.finished(view, derived)), 60, view)
    assert flow.running, flow.crash_report()
    assert flow.stop(20) == 0, flow.last_lines()
    found = letters(bench, view)
    told = Counter((each.headers["reason"], each.key, each.value) for each in found)
    assert told == Counter((each.reason, each.key, each.value) for each in POISON.values())
    for each in found:
        topic, partition, offset = each.headers["origin"].split("/")
        assert record(bench, int(partition), int(offset)) == (each.key, each.value)
        assert topic == ASSET_STREAM
        assert each.headers["detail"]
        assert each.headers["step"] == "decode"
    assert "Traceback" not in flow.log_path.read_text()


def record(bench: Bench, partition: int, offset: int) -> tuple[bytes | None, bytes | None]:
    """What stands at an origin."""
    (batch,) = [b for b in read_range(bench.kafka, ASSET_STREAM, {partition: (offset, offset + 1)}) if b.offsets]
    return batch.keys[0], batch.values[0]


def test_derive_has_kept_the_order_of_all_other_records(bench: Bench) -> None:
    decode, rules = FrameDecoder(12), {p: Assets(p, "rules", Rules) for p in range(12)}
    expected: dict[int, list[str]] = {p: [] for p in range(12)}
    for raw in read_range(bench.kafka, ASSET_STREAM, watermarks(bench.kafka, ASSET_STREAM)):
        batch, _ = decode(raw)
        expected[raw.partition] += [event.id for event in rules[raw.partition].batch(batch)]
    found: dict[int, list[str]] = {p: [] for p in range(12)}
    for raw in read_range(bench.kafka, state_topic(1), watermarks(bench.kafka, state_topic(1))):
        found[raw.partition] += [decode_event(value or b"").id for value in raw.values]
    assert found == expected
    assert found[HOME]


def test_archive_and_serve_hold_all_other_records_once(bench: Bench) -> None:
    done = audit(Site.from_environment(bench.environment))
    assert done.undecodable == len(POISON)
    assert (done.archive.rows, done.archive.unexplained) == (done.archive.on_stream, 0)
    assert done.archive.rows > 50
    assert done.serve is not None
    assert (done.serve.subjects, done.serve.unexplained) == (done.serve.on_stream, 0)
    assert done.serve.subjects > len(ASSETS)
