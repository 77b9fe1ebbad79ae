"""A kill in the middle of a loss that no gap tells of yet: the next run's gap covers it."""

from assets.batch import Outgoing, RawBatch
from assets.definition import Definition, Item
from assets.frame import Frame, decode_frame
from assets.plant import Binding
from assets.reading import Link, Mark, Message, Reading, Readings
from assets.stream import partition_of
from operators._tails import Tails
from operators.normalize import Normalizer
from operators.sequence import Sequencer
from sources._devices import Outlet
from sources._modbus_skipped import Skipped
from tests.streams import S

ITEMS = {"x": Item(source="meter", address="a")}
MODEL = Definition(type="meter", path="acme/hamburg/forming/line-1", source="meter", items=ITEMS)
HOME = partition_of("meter-01", 12)


def test_polls_left_out_before_a_kill_lie_in_the_gap_of_the_next_run() -> None:
    outlet = Outlet()
    skipped = Skipped(outlet)
    marks: list[Message] = []
    for second in range(1, 31):  # each poll that is made comes too late for another one
        skipped.add(1, ["a"], second * S)
        skipped.read((second + 1) * S)
        outlet.mark()
        (mark,) = outlet.take()
        assert isinstance(mark, Mark)
        marks += [
            Readings((second + 1) * S, [Reading("a", second)]),
            Mark((second + 1) * S, True, second, mark.lost, untold_since=mark.untold_since),
        ]
    stood = records(1, Normalizer("meter", {"a": [bound()]}), [Link(S, True), Readings(S, [Reading("a", 0)]), *marks])
    tails = Tails("gw-1")
    tails.read(raw(stood))
    after = Normalizer("meter", {"a": [bound()]})
    after.seed(tails.last, tails.mark("meter", {HOME}))
    said, _ = after.take([Readings(90 * S, [Reading("a", 1)])])
    gap = next(o.value for frame in said if isinstance(frame, Frame) for o in frame.observations if o.item == "_gap")
    assert isinstance(gap, dict)
    assert (gap["from"], gap["to"]) == (S, 90 * S)
    assert not any(o.item == "_gap" for r in stood if r.key for o in decode_frame(r.value or b"").observations)


def bound() -> Binding:
    return Binding("meter-01", "x", ITEMS["x"])


def records(run: int, normalizer: Normalizer, messages: list[Message]) -> list[Outgoing]:
    """What a run writes of these messages into the home of the meter."""
    said, _ = normalizer.take(messages)
    written = Sequencer("gw-1", run, 12, {"meter-01": MODEL}, {"meter": ["meter-01"]}).take(said)
    return [record for _, records in written for record in records if record.partition == HOME]


def raw(records: list[Outgoing]) -> RawBatch:
    keys, values = [r.key for r in records], [r.value for r in records]
    return RawBatch("asset-stream", HOME, 0, len(records), list(range(len(records))), keys, values)
