"""When a partition counts as not read on: told by positions and ends alone."""

import itertools

from sources._kafka_watch import LOOK_S, LOOKS, UNANSWERED, Watch


def look(watch: Watch, positions: dict[int, int], ends: dict[int, int] | None) -> list[int]:
    watch.quiet(positions)
    return watch.stuck(ends)


def test_a_partition_that_is_behind_at_one_position_in_look_after_look_is_stuck() -> None:
    watch = Watch()
    assert look(watch, {0: 5, 1: 7}, {0: 9, 1: 7}) == []
    for _ in range(LOOKS[0] - 1):
        assert look(watch, {0: 5, 1: 7}, {0: 9, 1: 7}) == []
    assert look(watch, {0: 5, 1: 7}, {0: 9, 1: 7}) == [0]


def test_a_partition_that_moves_or_has_no_more_is_not_even_asked_about_again() -> None:
    watch = Watch()
    for at in range(9):
        assert watch.quiet({0: at, 1: 3}) == ([1] if at else [])
        assert watch.stuck({1: 3}) == []


def test_a_record_that_comes_begins_the_count_anew() -> None:
    watch = Watch()
    for _ in range(LOOKS[0]):
        assert look(watch, {0: 5}, {0: 9}) == []
    for _ in range(LOOKS[0]):
        assert look(watch, {0: 6}, {0: 9}) == []
    assert look(watch, {0: 6}, {0: 9}) == [0]


def test_without_an_answer_nobody_is_stuck_and_the_silence_is_counted() -> None:
    watch = Watch()
    look(watch, {0: 5}, {0: 9})
    for count in range(1, 3 * UNANSWERED):
        assert look(watch, {0: 5}, None) == []
        assert watch.unanswered == count
    assert look(watch, {0: 5}, {0: 9}) == []
    assert watch.unanswered == 0


def test_what_was_read_anew_in_vain_waits_longer_each_time() -> None:
    watch, looks = Watch(), 4 * LOOKS[1]
    found = [n for n in range(looks) if look(watch, {0: 5}, {0: 9})]
    waits = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert waits == sorted(waits)
    assert waits[0] == 2 * LOOKS[0]
    assert waits[-1] == LOOKS[1]


def test_only_time_counts_in_which_all_that_had_arrived_was_read() -> None:
    watch = Watch()
    assert not watch.due(0.0, drained=True)
    assert not any(watch.due(n * 0.5, drained=False) for n in range(1, 100))
    assert not watch.due(9_999.0, drained=True), "nobody read for hours"
    steps = next(n for n in range(100) if watch.due(10_000.0 + n * 0.5, drained=True))
    assert LOOK_S - 2 <= steps * 0.5 <= LOOK_S
