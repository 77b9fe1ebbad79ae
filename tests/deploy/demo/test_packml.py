from itertools import pairwise

from deploy.demo import packml
from deploy.demo.packml import LEGAL, State


def test_46_of_the_272_ordered_pairs_are_legal() -> None:
    assert len(LEGAL) == 46
    assert all(one is not other for one, other in LEGAL)


def test_every_interruption_leads_from_execute_back_to_execute_by_legal_edges() -> None:
    ways = [(State.Execute, *way, State.Execute) for way in packml.INTERRUPTIONS]
    for way in [*ways, (*packml.BEFORE_FIRST_RUN, State.Execute)]:
        assert set(pairwise(way)) <= LEGAL
