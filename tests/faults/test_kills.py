"""Flows and rebuilds killed at random moments under load, with and without what they remember."""

import random
import sys
from contextlib import suppress

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
STREAM_S = 300
"""Of stream, so that a rebuild has something to do."""


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
    rig.writer.write(STREAM_S)
    rig.finish()
    generations = {view: next(rig.generations) for view in VIEWS}
    with rig.writer.load():
        unfinished = [view for view in VIEWS if killed_rebuild(rig, view, generations[view], chance)]
    ends = rig.settle()
    rig.stop(*VIEWS)
    for view in unfinished:
        with pytest.raises(Refused, match="its rebuild was not completed"):
            verify(rig.site, view, generations[view])
        again = start_rebuild(rig, view, generations[view])
        assert again.wait(PATIENCE_S) == 0, again.last_lines()
    for view, generation in generations.items():
        verdict = verify(rig.site, view, generation)
        assert verdict.differences == 0, verdict.first
        assert verdict.compared > 0
    rig.prove(ends)


def killed_rebuild(rig: Rig, view: View, generation: int, chance: random.Random) -> bool:
    """Kill a rebuild at a random moment; False if it was done before, which a fast machine may manage."""
    rebuild = start_rebuild(rig, view, generation)
    with suppress(TimeoutError):
        assert rebuild.wait(chance.uniform(0.1, REBUILD_S)) == 0, rebuild.crash_report()
        return False
    rebuild.kill()
    return True


def start_rebuild(rig: Rig, view: View, generation: int) -> Child:
    """`python -m replay rebuild` beside the live view."""
    command = [sys.executable, "-m", "replay", "rebuild", view, "--generation", str(generation), "--json"]
    return Child("rebuild", command, rig.log(view).with_name("rebuild.log"), rig.environment).start()
