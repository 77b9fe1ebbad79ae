"""Gateways that define an asset differently: the one that started last is right, and the conflict is told once."""

import pytest

from assets.definition import Definition
from tests.changes import BASE, Records, Writer, changed, subject, whole

AWAY = "acme/hamburg/forming/line-2"


def two_gateways(*, older_first: bool = True) -> Records:
    """Two gateways with different plant folders repeat their definitions every ten seconds."""
    old, new = Writer("gw-2", 100), Writer("gw-1", 200)
    pair: list[tuple[Writer, Definition]] = [(old, BASE), (new, changed(path=AWAY))]
    records: Records = []
    for at in range(0, 60, 10):
        for writer, model in pair if older_first else reversed(pair):
            records.append(writer.define(at, model, again=at > 0))
            records.append(writer.tell(at + 1, state="Execute", temperature=95.0))
    return records


@pytest.mark.parametrize("older_first", [True, False])
def test_of_two_gateways_that_disagree_the_one_that_started_last_is_right(older_first: bool) -> None:
    views = whole(two_gateways(older_first=older_first))
    assert {".".join(name.split(".")[1:5]) for name in views.live} == {AWAY.replace("/", ".")}
    assert views.said("overheat") == [("ACTIVE", 1)]
    (letter,) = views.letters
    assert (letter.reason, letter.key) == ("conflict", b"press-01")
    assert letter.detail == (
        f'gateway "gw-2" defines asset "press-01" as {BASE.model}, but gateway "gw-1", which started later, defines it '
        "otherwise; the later one is in force as long as it is there: give both the same plant folder, or take the "
        'asset out of that of "gw-2", and start it again'
    )


def test_whoever_starts_in_the_middle_finds_the_same_definition_in_force() -> None:
    records = two_gateways()
    for first in range(len(records) - 4):
        assert set(whole(records[first:]).live) == set(whole(records).live)


def test_a_gateway_that_starts_again_is_right_again_and_a_new_conflict_is_told_once() -> None:
    records, again = two_gateways(), Writer("gw-2", 300)
    records.append(again.define(70))
    late = Writer("gw-1", 200)
    records += [late.define(at, changed(path=AWAY), again=True) for at in (80, 90)]
    views = whole(records)
    assert [each.origin for each in views.letters] == ["asset-stream/0/4", "asset-stream/0/25"]
    assert subject("temperature") in views.live


def test_an_asset_that_another_gateway_took_over_is_not_removed_by_the_one_that_had_it() -> None:
    old, new = Writer("gw-1", 100), Writer("gw-2", 200)
    records: Records = [old.define(0), old.tell(1, temperature=95.0), new.define(10), Writer("gw-1", 300).remove(20)]
    views = whole(records)
    assert views.said("availability") == [("AVAILABLE", 0)]
    assert views.values()[subject("temperature")] == 95.0
    records.append(Writer("gw-2", 400).remove(30))
    assert whole(records).said("availability") == [("AVAILABLE", 0), ("REMOVED", 30)]


def test_any_copy_of_a_gateway_may_say_that_an_asset_is_gone() -> None:
    records = [Writer("gw-1-1-of-2", 100).define(0), Writer("gw-1-0-of-3", 200).remove(10)]
    assert whole(records).said("availability") == [("AVAILABLE", 0), ("REMOVED", 10)]
