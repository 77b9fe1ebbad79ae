"""Rebuild: the same dataflow from the oldest record to a fixed end, beside the live view."""

from dataclasses import replace
from pathlib import Path

import pytest

from assets.condition import Refused
from flows._site import View
from replay.rebuild import FlowFailed, Stopped, rebuild
from replay.verify import verify
from sources._partition import Stop
from tests.replay.live_plant import Plant


@pytest.mark.parametrize("view", ["derive", "serve", "archive"])
def test_a_rebuilt_view_equals_the_live_one(plant: Plant, view: View) -> None:
    made = rebuild(plant.site, view)
    assert (made.generation, made.live, made.refused) == (2, 1, 0)
    verdict = verify(plant.site, view)
    assert (verdict.live, verdict.rebuilt, verdict.differences, verdict.first) == (1, 2, 0, None)
    assert verdict.hash_live == verdict.hash_rebuilt
    assert verdict.compared > 0


def test_a_stop_ends_a_rebuild_cleanly_and_the_next_one_replaces_it(plant: Plant) -> None:
    stopped, again = (replace(plant.site, stop=Stop()) for _ in range(2))
    stopped.stop.request()
    with pytest.raises(Stopped, match='stopped rebuilding generation 2 of view "archive" after 0 of 2835 records'):
        rebuild(stopped, "archive")
    with pytest.raises(Refused, match="there is only generation 1"):
        verify(again, "archive")
    rebuild(again, "archive")
    assert verify(again, "archive").differences == 0


def test_a_failing_worker_ends_the_rebuild_with_its_cause(plant: Plant, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file where a folder must be")
    site = replace(plant.site, data=tmp_path, stop=Stop())
    with pytest.raises(FlowFailed, match=r'flow "archive" failed: .*Not a directory'):
        rebuild(site, "archive")
