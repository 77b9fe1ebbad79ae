"""Where files end by the clocks of gateways: also by one that was set back."""

from sinks._cut import ROLL_ROWS, Measures, Progress, cut

ROLL = 300


def ends(*batches: list[tuple[str, int]], steady: bool = True) -> list[int]:
    """The offsets at which files end, of records (clock, time) in these batches."""
    progress, offset, out = Progress(), 0, []
    for batch in batches:
        offsets = list(range(offset, offset + len(batch)))
        offset += len(batch)
        of = Measures([clock for clock, _ in batch], [time for _, time in batch], [1] * len(batch), steady)
        out += [part.next for part in cut(progress, offsets, offset, of, ROLL_ROWS, ROLL) if part.closes]
    return out


def test_a_file_ends_when_a_clock_has_run_its_time() -> None:
    assert ends([("gw-1", 1_000), ("gw-2", 9_000), ("gw-1", 1_299)], [("gw-2", 9_299), ("gw-1", 1_300)]) == [4]


def test_a_clock_that_was_set_back_ends_a_file_instead_of_keeping_it_open_until_it_is_where_it_was() -> None:
    records = [("gw-1", 9_000), ("gw-1", 1_000), ("gw-1", 1_299), ("gw-1", 1_300)]
    assert ends(records) == ends(*([record] for record in records)) == [1, 3]


def test_values_a_little_out_of_order_end_nothing() -> None:
    assert ends([("gw-1", 1_000), ("gw-1", 990)], [("gw-1", 980), ("gw-1", 1_299)]) == []


def test_times_of_many_devices_that_disagree_cut_once() -> None:
    assert ends([("", 9_000), ("", 1_000), ("", 9_001), ("", 1_001), ("", 9_300)], steady=False) == [4]
