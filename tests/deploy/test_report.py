"""What the report of a demo calls well: nothing that was not looked at."""

from typing import Any

from deploy.report import problems


def report(**verify: Any) -> dict[str, Any]:
    """A report in which all is well but what is given for the comparison of the archive."""
    verified = {"differences": 0, "compared": 7, "first": None, **verify}
    return {"flows": {"archive": {"exit_code": 0}}, "views": {"archive": {"verify": verified}}, "unexplained": 0}


def test_a_comparison_without_a_difference_is_well() -> None:
    assert problems(report()) == []


def test_a_view_of_which_nothing_was_compared_is_not_well() -> None:
    assert problems(report(compared=0)) == [
        'view "archive" was not compared: it has finished nothing yet; run the demo for longer'
    ]


def test_a_difference_is_named_once() -> None:
    (problem,) = problems(report(differences=2, first="press-01"))
    assert problem == 'view "archive" differs from its rebuild in 2 places, first: press-01'
