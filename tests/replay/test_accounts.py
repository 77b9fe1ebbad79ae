"""The accounts of sources against the records of the stream: intact, and with one thing wrong at a time."""

from collections import defaultdict
from collections.abc import Callable

import pytest

from assets.frame import Frame, Observation, SourceAccount, Tick, decode_frame, decode_tick
from replay._accounts import Accounts, Deviation, SourceReport
from tests.replay.plant_stream import START, Run, records

Records = dict[int, list[Frame | Tick]]


@pytest.fixture
def stream() -> Records:
    """The decoded records of a run, by partition."""
    found: Records = defaultdict(list)
    for record in (record for batch in records(Run(START, 40)) for record in batch):
        assert record.value is not None
        found[record.partition].append(decode_frame(record.value) if record.key else decode_tick(record.value))
    return found


def account(stream: Records) -> tuple[dict[str, SourceReport], list[Deviation]]:
    accounts = Accounts(dict.fromkeys(stream, 0))
    for partition, some in stream.items():
        for offset, record in enumerate(some):
            accounts.record(partition, offset, record)
    return accounts.finish()


def index_of(some: list[Frame | Tick], wanted: Callable[[Frame | Tick], bool]) -> int:
    return next(i for i, record in enumerate(some) if i > 20 and wanted(record))


def is_frame_of_s(record: Frame | Tick) -> bool:
    return isinstance(record, Frame) and record.source == "s" and len(record.observations) == 2


def test_an_intact_stream_adds_up(stream: Records) -> None:
    sources, deviations = account(stream)
    assert deviations == []
    for report in sources.values():
        assert report.received == report.published + report.suppressed + report.rejected + report.buffered
        assert (report.on_stream, report.in_flight, report.unexplained) == (report.published, 0, 0)
    assert sources["s"].suppressed > 0
    assert sources["s"].rejected == 4


def test_a_stream_read_to_another_end_in_each_partition_adds_up(stream: Records) -> None:
    first_tick = {p: next(i for i, r in enumerate(some) if isinstance(r, Tick)) for p, some in stream.items()}
    for n in range(1, 80):
        ends = {p: first_tick[p] + 1 + n * (p + 3) % 50 for p in stream}
        _, deviations = account({p: some[: ends[p]] for p, some in stream.items()})
        assert deviations == []


def test_a_missing_record_is_named_by_its_place_and_missed_in_its_source(stream: Records) -> None:
    partition, some = next(iter(stream.items()))
    gone = index_of(some, is_frame_of_s)
    record = some.pop(gone)
    assert isinstance(record, Frame)
    sources, deviations = account(stream)
    hole, missed = sorted(deviations, key=lambda deviation: deviation.kind)
    assert (hole.kind, hole.asset, hole.partition, hole.count) == ("hole", record.asset, partition, 1)
    assert (hole.offset or 0) >= gone
    assert hole.detail == f"a frame numbered {record.seq + 1} follows number {record.seq - 1}"
    assert (missed.kind, missed.source, missed.gateway, missed.run, missed.count) == (
        "published",
        "s",
        "gw-1",
        START,
        2,
    )
    assert sources["s"].on_stream == sources["s"].published - 2
    assert sources["s"].unexplained == 2
    assert sources["m"].unexplained == 0


def test_a_record_that_stands_twice_is_named(stream: Records) -> None:
    some = next(iter(stream.values()))
    twice = index_of(some, is_frame_of_s)
    some.insert(twice, some[twice])
    _, deviations = account(stream)
    assert [(d.kind, d.count, d.offset) for d in deviations if d.kind == "duplicate"] == [("duplicate", 1, twice + 1)]
    assert [(d.kind, d.count, d.source) for d in deviations if d.kind == "published"] == [("published", 2, "s")]


def test_a_missing_tick_is_named_by_its_partition(stream: Records) -> None:
    partition, some = next(iter(stream.items()))
    some.pop(index_of(some, lambda record: isinstance(record, Tick)))
    _, deviations = account(stream)
    assert [(d.kind, d.partition, d.asset, d.count) for d in deviations] == [("hole", partition, None, 1)]


def test_an_observation_taken_out_of_its_record_is_missed(stream: Records) -> None:
    some = next(iter(stream.values()))
    frame = some[index_of(some, is_frame_of_s)]
    assert isinstance(frame, Frame)
    frame.observations.pop()
    _, deviations = account(stream)
    assert [(d.kind, d.source, d.count) for d in deviations] == [("published", "s", 1)]


def test_what_the_gateway_itself_says_is_in_no_account(stream: Records) -> None:
    some = next(iter(stream.values()))
    frame = some[index_of(some, is_frame_of_s)]
    assert isinstance(frame, Frame)
    frame.observations += [Observation("_gap", {}), Observation("temperature", 1.0, 0, None, 2)]
    assert account(stream)[1] == []


def test_an_account_that_publishes_more_than_it_received_is_named() -> None:
    tick = Tick(1, "gw-1", 1, 1, 10, {"s": SourceAccount(10, 3, 4, {}, {}, 0)})
    frame = Frame(1, "press-01", "s", "gw-1", 1, 1, 5, "", [Observation("state", "Idle")] * 4)
    sources, deviations = account({0: [frame, tick]})
    assert [(d.kind, d.source, d.count) for d in deviations] == [("account", "s", 1)]
    assert sources["s"].unexplained == 1


def test_what_a_source_holds_back_is_buffered_and_not_missing() -> None:
    tick = Tick(1, "gw-1", 1, 1, 10, {"s": SourceAccount(10, 7, 4, {"deadband": 1}, {}, 3)})
    frame = Frame(1, "press-01", "s", "gw-1", 1, 1, 5, "", [Observation("state", "Idle")] * 4)
    sources, deviations = account({0: [frame, tick]})
    assert deviations == []
    assert (sources["s"].buffered, sources["s"].lost) == (2, 3)


def test_frames_after_the_mark_are_in_flight_though_they_precede_the_tick() -> None:
    frames = [
        Frame(1, "press-01", "s", "gw-1", 1, seq, at, "", [Observation("state", "Idle")])
        for seq, at in ((1, 5), (2, 12))
    ]
    tick = Tick(1, "gw-1", 1, 1, 13, {"s": SourceAccount(10, 1, 1, {}, {}, 0)})
    sources, deviations = account({0: [*frames, tick]})
    assert deviations == []
    assert (sources["s"].on_stream, sources["s"].in_flight) == (1, 1)


@pytest.mark.parametrize(("before", "mark", "after"), [(5000, 10, 12), (5, 5000, 12), (5000, 5001, 12)])
def test_a_clock_set_back_about_the_last_mark_is_no_loss(before: int, mark: int, after: int) -> None:
    frames = [
        Frame(1, "press-01", "s", "gw-1", 1, seq, at, "", [Observation("state", "Idle")])
        for seq, at in ((1, before), (2, after))
    ]
    tick = Tick(1, "gw-1", 1, 1, 13, {"s": SourceAccount(mark, 1, 1, {}, {}, 0)})
    sources, deviations = account({0: [*frames, tick]})
    assert deviations == []
    assert (sources["s"].on_stream, sources["s"].in_flight) == (1, 1)


def test_a_stream_whose_beginning_was_not_read_needs_no_first_number() -> None:
    accounts = Accounts({0: 5})
    accounts.record(0, 5, Frame(1, "press-01", "s", "gw-1", 1, 17, 5, "", []))
    assert accounts.finish()[1] == []
