"""What a gap knows of the values of one asset among those that it concerns."""

from assets.reading import Gap


def test_counts_by_address_tell_what_each_asset_has_lost() -> None:
    gap = Gap(["a", "b", "c"], 1, 2, "x", 7, {"a": 3, "b": 4})
    assert gap.lost_at(["a", "c"], alone=False) == 3
    assert gap.lost_at([], alone=True) == 0


def test_without_counts_only_an_asset_that_is_alone_knows() -> None:
    assert Gap([], 1, 2, "x", 7).lost_at([], alone=True) == 7
    assert Gap([], 1, 2, "x", 7).lost_at([], alone=False) is None
    assert Gap([], 1, 2, "x", 0).lost_at([], alone=False) == 0
    assert Gap([], 1, 2, "x").lost_at([], alone=True) is None
