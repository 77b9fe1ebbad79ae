"""What earlier runs left on the stream, found again."""

from assets.batch import Outgoing, RawBatch
from assets.frame import Flag, Frame, SourceAccount, Tick, encode_frame, encode_tick
from operators._tails import Tails
from tests.streams import S, frame, tick


def raw(*records: Frame | Tick | bytes, partition: int = 3) -> RawBatch:
    keys: list[bytes | None] = [r.asset.encode() if isinstance(r, Frame) else None for r in records]
    values: list[bytes | None] = [_encoded(r) for r in records]
    offsets = list(range(len(records)))
    return RawBatch("asset-stream", partition, 0, len(records), offsets, keys, values)


def _encoded(record: Frame | Tick | bytes) -> bytes:
    if isinstance(record, bytes):
        return record
    return encode_frame(record) if isinstance(record, Frame) else encode_tick(record)


def numbered(record: Frame, seq: int) -> Frame:
    record.seq = seq
    return record


def test_the_last_value_of_an_item_is_known_with_the_instant_it_was_received() -> None:
    tails = Tails("gw-1")
    tails.read(raw(frame(1, ("x", 1), ("y", 5, 0, 0.5)), frame(2, ("x", 2)), frame(3, ("_gap", {}))))
    assert {key: (o.value, o.time, o.source_time) for key, o in tails.last.items()} == {
        ("press-01", "x"): (2, 2 * S, None),
        ("press-01", "y"): (5, S, S // 2),
    }


def test_a_key_frame_tells_what_is_not_known_and_moves_nothing() -> None:
    tails = Tails("gw-1")
    repeated = [("x", 1, 0, None, int(Flag.KEYFRAME)), ("y", 2, 0, None, int(Flag.KEYFRAME))]
    tails.read(raw(frame(1, ("x", 1)), frame(9, *repeated)))
    assert {key[1]: o.time for key, o in tails.last.items()} == {"x": S, "y": 9 * S}


def test_the_last_mark_is_that_of_the_newest_run_whatever_its_clock_says() -> None:
    tails = Tails("gw-1")
    tails.read(raw(tick(50, "s", "m", run=1), tick(40, "s", run=2)))
    tails.read(raw(tick(45, "s", run=1), partition=4))
    assert (tails.mark("s", {3}), tails.mark("m", {3}), tails.mark("other", {3})) == (40 * S, 50 * S, None)
    assert tails.run == 2


def test_the_mark_before_the_newest_is_sure_for_what_a_device_said_by_the_newest_may_have_been_on_its_way() -> None:
    tails = Tails("gw-1")
    tails.read(raw(frame(1, ("x", 1)), tick(2, "s"), tick(3, "s"), tick(4, "m"), tick(5, "s")))
    assert tails.mark("s", {3}) == 3 * S
    tails.read(raw(frame(9, ("x", 2), run=2), frame(10, ("x", 3), run=2), tick(11, "s", run=2)))
    assert tails.mark("s", {3}) == 9 * S
    tails.read(raw(tick(12, "s", run=2)))
    assert tails.mark("s", {3}) == 11 * S


def test_a_clock_that_was_set_back_does_not_hide_the_newest_marks() -> None:
    tails = Tails("gw-1")
    tails.read(raw(frame(4000, ("x", 1)), tick(4001, "s"), tick(402, "s"), tick(403, "s"), tick(404, "s")))
    assert tails.mark("s", {3}) == 403 * S


def test_what_is_read_and_then_found_in_the_spool_again_counts_once() -> None:
    tails = Tails("gw-1")
    left = raw(frame(1, ("x", 1)), tick(2, "s"), tick(3, "s"), tick(4, "s"))
    tails.read(left)
    again = [Outgoing(3, key, value) for key, value in zip(left.keys, left.values, strict=True)]
    for start in range(4):
        tails.follow(again[start:])
        assert tails.mark("s", {3}) == 3 * S


def test_a_source_without_a_mark_was_heard_since_its_first_frame() -> None:
    tails = Tails("gw-1")
    tails.read(raw(frame(7, ("x", 1)), frame(8, ("x", 2)), frame(9, ("x", 3), run=2)))
    assert tails.mark("s", {3}) == 7 * S
    tails.read(raw(tick(8, "s"), tick(9, "s")))
    assert tails.mark("s", {3}) == 8 * S


def test_what_any_copy_wrote_of_a_source_counts() -> None:
    tails = Tails("gw-1")
    tails.read(raw(frame(1, ("x", 1)), tick(2, "s"), tick(3, "s")))
    tails.read(raw(frame(4, ("x", 2), gateway="gw-1-2-of-3", run=2), tick(5, "s", gateway="gw-1-2-of-3", run=2)))
    assert tails.last["press-01", "x"].value == 2
    assert (tails.run, tails.mark("s", {3})) == (2, 4 * S)
    assert tails.names == {"gw-1", "gw-1-2-of-3"}


def test_numbers_are_told_apart_by_copy() -> None:
    tails = Tails("gw-1")
    one, other = (numbered(frame(1, ("x", 1), gateway=f"gw-1-{i}-of-2"), 1) for i in (0, 1))
    tails.read(raw(one))
    left = raw(one, other)
    records = [Outgoing(3, k, v) for k, v in zip(left.keys, left.values, strict=True)]
    assert tails.missing(3, records) == records[1:]


def test_other_gateways_and_poison_are_passed_over() -> None:
    tails = Tails("gw-1")
    other = frame(2, ("x", "gw-1"), gateway="gw-2", run=7)
    tails.read(raw(frame(1, ("x", 1)), other, b'{"gateway":"gw-1"', b'"gw-1"'))
    assert [o.value for o in tails.last.values()] == [1]
    assert tails.run == 1


def test_what_stands_in_the_topic_is_told_from_what_does_not_by_run_and_number() -> None:
    tails = Tails("gw-1")
    tails.read(raw(*(numbered(frame(n, ("x", n)), n) for n in (1, 2)), tick(2, "s")))
    left = raw(*(numbered(frame(n, ("x", n)), n) for n in (1, 2, 3)), tick(2, "s"), frame(1, ("x", 1), run=2))
    records = [Outgoing(3, k, v) for k, v in zip(left.keys, left.values, strict=True)]
    assert tails.missing(3, records) == [records[2], records[4]]
    assert tails.missing(4, records[3:4]) == records[3:4]  # a tick is numbered by partition


def test_what_will_be_sent_is_followed_as_if_it_stood_there_and_still_is_missing() -> None:
    tails = Tails("gw-1")
    left = raw(numbered(frame(5, ("x", 5), run=3), 1), tick(6, "s", run=3))
    records = [Outgoing(3, k, v) for k, v in zip(left.keys, left.values, strict=True)]
    tails.follow(records)
    assert tails.last["press-01", "x"].value == 5
    assert (tails.run, tails.mark("s", {3})) == (3, 5 * S)
    assert tails.missing(3, records) == records


def test_a_kill_between_the_partitions_leaves_the_older_mark() -> None:
    tails = Tails("gw-1")
    tails.read(raw(tick(1, "s"), tick(2, "s"), tick(3, "s")))
    tails.read(raw(tick(1, "s"), tick(2, "s"), partition=5))
    assert tails.mark("s", {3, 5}) == 1 * S
    assert tails.mark("s", {3}) == 2 * S
    assert tails.mark("s", {3, 5, 7}) == 1 * S


def test_what_was_lost_and_not_told_of_begins_the_gap_earlier() -> None:
    tails = Tails("gw-1")
    tails.read(raw(frame(1, ("x", 1)), losing(60, None), losing(62, 61), losing(90, 61), losing(91, 61, proved=False)))
    assert tails.mark("s", {3}) == 61 * S
    tails.read(raw(losing(92, None), losing(93, None)))
    assert tails.mark("s", {3}) == 92 * S
    tails.read(raw(losing(94, 93), losing(95, None, run=2), losing(96, None, run=2)))
    assert tails.mark("s", {3}) == 95 * S


def losing(at: int, untold_since: int | None, run: int = 1, *, proved: bool = True) -> Tick:
    """A tick at which losses since an instant have not been told yet."""
    since = None if untold_since is None else untold_since * S
    account = SourceAccount(at * S if proved else None, 0, 0, {}, {}, 0, since)
    return Tick(1, "gw-1", run, 1, at * S, {"s": account})


def test_an_asset_is_known_until_it_is_removed() -> None:
    tails = Tails("gw-1")
    tails.read(raw(frame(1, ("x", 1)), frame(1, ("x", 1), asset="press-02"), frame(2, ("_removed", True))))
    assert tails.assets == {"press-02"}
