"""One ingest process as a gateway: what its sources go on from, whichever copy had them before."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assets.batch import RawBatch
from assets.condition import Refused
from assets.frame import Flag, Frame, Tick, encode_frame, encode_tick
from assets.plant import Plant, load
from assets.reading import Message, Reading, Readings
from assets.stream import partition_of
from flows._gateway import Gateway, _enough
from flows._site import Site
from operators._tails import Tails
from operators.normalize import Normalizer
from tests.streams import S, frame, tick

PLANT = """
sources: {s: {protocol: modbus, endpoint: "tcp://127.0.0.1:1"}, t: {protocol: modbus, endpoint: "tcp://127.0.0.1:2"}}
types: {press: {items: {x: {category: SAMPLE, address: "input:0 uint16"}}}}
assets:
  press-01: {type: press, path: acme/hamburg/forming/line-1, source: s}
  press-02: {type: press, path: acme/hamburg/forming/line-1, source: t}
"""
HOME = partition_of("press-01", 12)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    (tmp_path / "plant.yaml").write_text(PLANT)
    return load(tmp_path)


def tails(*records: Frame | Tick) -> Tails:
    """What the gateway "gw-1" finds where one of its assets lives."""
    found = Tails("gw-1")
    for offset, record in enumerate(records):
        key = record.asset.encode() if isinstance(record, Frame) else None
        value = encode_frame(record) if isinstance(record, Frame) else encode_tick(record)
        found.read(RawBatch("asset-stream", HOME, offset, offset + 1, [offset], [key], [value]))
    return found


def told(made: Callable[[], Normalizer], *messages: Message) -> list[tuple[str, object, int]]:
    said, _ = made().take(messages)
    return [(o.item, o.value, o.flags) for one in said if isinstance(one, Frame) for o in one.observations]


@pytest.mark.parametrize("former", ["gw-1", "gw-1-2-of-3", "gw-1-1-of-2"])
def test_a_source_goes_on_where_another_copy_left_it(plant: Plant, former: str) -> None:
    left = tails(frame(1, ("x", 7, 0, 0.5), gateway=former, run=9), tick(2, "s", gateway=former, run=9))
    gateway = Gateway("gw-1-0-of-2", 10, plant, 12, ("s",), left)
    again = Reading("input:0 uint16", 7, 0, S // 2, int(Flag.INITIAL))
    news = told(gateway.normalizers["s"], Readings(5 * S, [again]))
    value = {"items": ["x"], "from": 1 * S, "to": 5 * S, "reason": "the gateway was not running", "lost": None}
    assert news == [("_gap", value, 0), ("x", 7, int(Flag.INITIAL | Flag.REDELIVERED))]


def test_another_gateway_s_readings_are_none_of_its_business(plant: Plant) -> None:
    left = tails(frame(1, ("x", 7), gateway="gw-10", run=9), tick(2, "s", gateway="gw-1-2", run=9))
    gateway = Gateway("gw-1", 10, plant, 12, ("s",), left)
    assert told(gateway.normalizers["s"], Readings(5 * S, [Reading("input:0 uint16", 7)])) == [("x", 7, 0)]


def test_tails_are_near_when_something_was_said_of_all_its_sources() -> None:
    near = tails(tick(2, "s", gateway="gw-1-2-of-3"))
    assert not _enough(("t",), near), "its own name says nothing of a source that was another copy's"
    assert _enough(("s",), near)
    assert not _enough(("s", "t"), near)
    assert _enough((), tails())


def test_a_copy_without_sources_is_refused(plant: Plant, tmp_path: Path) -> None:
    site = replace(Site.from_environment({"PENSTOCK_COPY": "2/3"}), data=tmp_path / "data", plant=plant.folder)
    with pytest.raises(Refused, match="the plant has 2 sources, so none is left for this copy; start fewer copies"):
        Gateway.of(site)
