"""Rebuild: the same dataflow from the oldest record to a fixed end, beside the live view."""

import pytest

from flows._site import View
from replay.rebuild import rebuild
from replay.verify import verify
from tests.replay.live_plant import Plant


@pytest.mark.parametrize("view", ["derive", "serve", "archive"])
def test_a_rebuilt_view_equals_the_live_one(plant: Plant, view: View) -> None:
    made = rebuild(plant.site, view)
    assert (made.generation, made.live, made.refused) == (2, 1, 0)
    verdict = verify(plant.site, view)
    print(made, verdict)
    assert (verdict.live, verdict.rebuilt, verdict.differences, verdict.first) == (1, 2, 0, None)
    assert verdict.hash_live == verdict.hash_rebuilt
    assert verdict.compared > 0
