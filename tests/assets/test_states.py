"""Vocabularies: the standards' words, each with a class for people."""

import pytest

from assets.states import VOCABULARIES, Kind

PACKML = VOCABULARIES["packml"]


def test_packml_has_seventeen_states_numbered_from_one() -> None:
    assert list(PACKML.numbers) == list(range(1, 18))
    assert tuple(PACKML.numbers.values()) == PACKML.names


@pytest.mark.parametrize(
    ("raw", "name"),
    [(6, "Execute"), (6.0, "Execute"), ("Execute", "Execute"), (17, "Complete"), (1, "Clearing")],
)
def test_a_state_is_known_by_number_and_by_name(raw: object, name: str) -> None:
    assert PACKML.name_of(raw) == name


@pytest.mark.parametrize("raw", [0, 18, -1, 6.5, float("nan"), float("inf"), "EXECUTE", "6", None, True, [], 2**70])
def test_what_the_standard_does_not_have_has_no_name(raw: object) -> None:
    assert PACKML.name_of(raw) is None


@pytest.mark.parametrize(
    ("vocabulary", "state", "kind"),
    [
        ("packml", "Execute", "producing"),
        ("packml", "Idle", "ready"),
        ("packml", "Suspended", "held"),
        ("packml", "Starting", "setup"),
        ("packml", "Aborted", "down"),
        ("execution", "ACTIVE", "producing"),
        ("execution", "UNAVAILABLE", "offline"),
        ("machinery", "Executing", "producing"),
        ("machinery", "NotAvailable", "offline"),
        ("machinery", "executing", "unknown"),
        ("packml", None, "unknown"),
        ("packml", 6, "unknown"),
    ],
)
def test_a_state_has_a_class_for_people(vocabulary: str, state: object, kind: str) -> None:
    assert VOCABULARIES[vocabulary].kind(state) == kind


def test_every_vocabulary_is_known_by_its_name_and_has_states() -> None:
    for name, vocabulary in VOCABULARIES.items():
        assert vocabulary.name == name
        assert Kind.PRODUCING in vocabulary.kinds.values()
        assert Kind.UNKNOWN not in vocabulary.kinds.values()


def test_nobody_can_change_a_standard() -> None:
    with pytest.raises(TypeError):
        PACKML.kinds["Running"] = Kind.PRODUCING  # type: ignore[index]
