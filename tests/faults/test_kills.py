"""Flows and rebuilds killed at random moments under load, with and without what they remember."""

import random
import sys

import pytest

from assets.condition import Refused
from deploy.processes import Child
from flows._site import View
from replay.verify import verify
from tests.faults.rig import PATIENCE_S, VIEWS, Rig, moment

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

KILLS: list[tuple[View, bool]] = [(view, forgotten) for view in VIEWS for forgotten in (False, True)]
"""Each view goes on with its recovery store, and without."""
MOST_S = 1.5
REBUILD_S = 1.8
"""In most cases before it is done, in some before it has begun."""


def test_views_killed_at_any_moment_are_exact_after_all(rig: Rig, chance: random.Random) -> None:
    rig.start(*VIEWS)
    with rig.writer.load():
        for view, forgotten in chance.sample(KILLS, len(KILLS)):
            moment(rig.flows[view], chance, MOST_S)
            rig.kill(view)
            if forgotten:
                rig.forget(view)
            rig.start(view)
    ends = rig.settle()
    rig.stop(*VIEWS)
    rig.prove(ends)


def test_killed_rebuilds_leave_the_live_views_alone_and_can_be_run_again(rig: Rig, chance: random.Random) -> None:
    rig.start(*VIEWS)
    rig.writer.write(20)
    rig.finish()
    generations = {view: next(rig.generations) for view in VIEWS}
    with rig.writer.load():
        for view, generation in generations.items():
            killed = start_rebuild(rig, view, generation)
            moment(killed, chance, REBUILD_S)
            killed.kill()
    ends = rig.settle()
    rig.stop(*VIEWS)
    for view, generation in generations.items():
        with pytest.raises(Refused, match="its rebuild was not completed"):
            verify(rig.site, view, generation)
        again = start_rebuild(rig, view, generation)
        assert again.wait(PATIENCE_S) == 0, again.last_lines()
        verdict = verify(rig.site, view, generation)
        assert verdict.differences == 0, verdict.first
        assert verdict.compared > 0
    rig.prove(ends)


def start_rebuild(rig: Rig, view: View, generation: int) -> Child:
    """`python -m replay rebuild` beside the live view."""
    command = [sys.executable, "-m", "replay", "rebuild", view, "--generation", str(generation), "--json"]
    return Child("rebuild", command, rig.log(view).with_name("rebuild.log"), rig.environment).start()
