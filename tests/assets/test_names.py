"""Names become keys, subjects and step ids, so they are narrow."""

import pytest

from assets.names import check_id, check_item_id, check_path, split_path


@pytest.mark.parametrize("text", ["a", "press-01", "line-1", "a1"])
def test_an_id_passes(text: str) -> None:
    assert (check_id(text), check_item_id(text)) == (text, text)


@pytest.mark.parametrize("text", ["", "1a", "-a", "A", "a.b", "a b", "a*", "a>", "ä", "a/b", "a\n", "_a"])
def test_what_would_break_a_subject_is_refused(text: str) -> None:
    for check in (check_id, check_item_id):
        with pytest.raises(ValueError, match=r"^expected small letters"):
            check(text)


def test_only_items_and_metrics_may_have_an_underscore_inside() -> None:
    assert check_item_id("door_open") == "door_open"
    with pytest.raises(ValueError):
        check_id("door_open")


@pytest.mark.parametrize(
    "path", ["", "a", "a/b/c", "a/b/c/d/e", "a/b//d", "/a/b/c", "A/b/c/d", "a/b/c/d/", "a/b/c/d_e"]
)
def test_a_path_has_exactly_four_levels(path: str) -> None:
    with pytest.raises(ValueError, match=r"^expected enterprise/site/area/work_center, "):
        check_path(path)


def test_the_levels_of_a_path_have_names() -> None:
    assert split_path(check_path("acme/hamburg/forming/line-1")) == {
        "enterprise": "acme",
        "site": "hamburg",
        "area": "forming",
        "work_center": "line-1",
    }
