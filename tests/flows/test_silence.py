"""A gateway whose clock was ahead, and that is gone, keeps no definition of the others from coming into force."""

import pytest

from operators._progress import MAX_SILENCE_US, Progress
from tests.changes import BASE, PATH, Records, Writer, changed, cut, whole
from tests.streams import S, tick

IN_2099 = 4_070_908_800 * S
SILENCE = MAX_SILENCE_US // S
AWAY = "acme/hamburg/forming/line-2"
LETTER = "conflict"


def lines(live: dict[str, bytes]) -> set[str]:
    """Where an asset has live values."""
    return {"/".join(subject.split(".")[1:5]) for subject in live}


def after_a_clock_in_2099(seconds: int, *, alive: bool = False) -> Records:
    """gw-2 starts in 2099 and dies, or not; gw-1 defines the asset otherwise and repeats it after some seconds."""
    ahead, right = Writer("gw-2", IN_2099), Writer("gw-1", 100)
    records: Records = [
        ahead.define(0),
        tick(0, "s", gateway="gw-2", run=IN_2099),
        tick(0, "s", gateway="gw-1", run=100),
    ]
    records.append(right.define(1, changed(path=AWAY)))
    for at in range(1, seconds + 1):
        records.append(tick(at, "s", gateway="gw-1", run=100))
        if alive:
            records.append(tick(at, "s", gateway="gw-2", run=IN_2099))
    return [*records, right.define(seconds, changed(path=AWAY), again=True), right.tell(seconds + 1, temperature=95.0)]


def test_the_definition_of_a_gateway_that_has_gone_silent_gives_way() -> None:
    views = whole(after_a_clock_in_2099(SILENCE))
    assert lines(views.live) == {AWAY}
    assert [each.reason for each in views.letters] == [LETTER]
    assert views.said("overheat") == [("ACTIVE", SILENCE + 1)]


@pytest.mark.parametrize(("seconds", "alive"), [(SILENCE - 1, False), (SILENCE, True)])
def test_the_definition_of_a_gateway_that_is_there_stays(seconds: int, alive: bool) -> None:
    assert lines(whole(after_a_clock_in_2099(seconds, alive=alive)).live) == {PATH}


def test_when_no_gateway_says_anything_no_time_passes() -> None:
    records = after_a_clock_in_2099(SILENCE)
    kept = [each for each in records if not isinstance(each, type(records[1]))]
    assert lines(whole([*records[:3], *kept]).live) == {PATH}


def test_who_has_taken_over_may_remove_also_with_the_same_definition() -> None:
    ahead, right = Writer("gw-2", IN_2099), Writer("gw-1", 100)
    records: Records = [ahead.define(0), tick(0, "s", gateway="gw-1", run=100), right.define(1)]
    early = [*records, right.remove(2)]
    assert whole(early).said("availability") == [("AVAILABLE", 0)]
    records += [tick(at, "s", gateway="gw-1", run=100) for at in range(1, SILENCE + 1)]
    records += [right.define(SILENCE, again=True), right.remove(SILENCE + 1)]
    views = whole(records)
    assert views.said("availability") == [("AVAILABLE", 0), ("REMOVED", SILENCE + 1)]
    assert set(views.live) == {f"state.{PATH.replace('/', '.')}.press-01.availability"}


def test_a_gateway_that_speaks_again_is_right_again() -> None:
    ahead = Writer("gw-2", IN_2099)
    records = [*after_a_clock_in_2099(SILENCE), ahead.define(SILENCE + 2, again=True)]
    assert lines(whole(records).live) == {PATH}
    late = Writer("gw-1", 100).define(SILENCE + 3, changed(path=AWAY), again=True)
    assert lines(whole([*records, late]).live) == {PATH}


def test_restarts_change_nothing_of_it() -> None:
    records = after_a_clock_in_2099(SILENCE)
    assert cut(records, range(0, len(records), 7), lag=2) == whole(records)


def test_whoever_starts_in_the_middle_finds_the_same_definition_in_force_after_a_key_frame() -> None:
    records = after_a_clock_in_2099(SILENCE)
    for first in range(0, len(records) - 2, 9):
        assert set(whole(records[first:]).live) <= set(whole(records).live)
        assert lines(whole(records[first:]).live) == {AWAY}
    assert BASE.path == PATH


def test_gateways_that_are_long_silent_are_forgotten() -> None:
    progress = Progress()
    for n in range(10):
        for at in range(0, SILENCE + 10, 5):
            progress.advance(tick(at, "s", gateway=f"gw-{n}"))
    assert set(progress.heard) == set(progress.gateways) == {"gw-8", "gw-9"}
    assert progress.is_silent("gw-0")
