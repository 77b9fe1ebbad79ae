"""Clean stops at any moment under load, also with Kafka or NATS away: exit codes, time, nothing lost or repeated."""

import random
import signal
import time
from functools import partial

import pytest

from deploy.wait import until
from tests.faults.rig import PATIENCE_S, VIEWS, Rig, away, moment

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

MOST_S = 2.5
CLEAN_STOP_S = 3.0
"""One epoch and two seconds."""
AWAY_STOP_S = 12.0
"""Five seconds for a server to come back, for reading and for writing, and what a busy machine takes."""
BUSY_S = 45.0
"""What other work on the machine may add."""


def test_a_stop_at_any_moment_is_clean_and_nothing_is_lost_or_repeated(rig: Rig, chance: random.Random) -> None:
    with rig.writer.load():
        for number in (signal.SIGTERM, signal.SIGINT):
            rig.start(*VIEWS)
            for view in chance.sample(VIEWS, len(VIEWS)):
                until(partial(rig.reads, view), PATIENCE_S, f"{view} to read")
                moment(rig.flows[view], chance, MOST_S / len(VIEWS))
                began = time.monotonic()
                rig.flows[view].signal(number)
                assert rig.flows[view].wait(PATIENCE_S) == 0, rig.flows[view].crash_report()
                assert time.monotonic() - began < CLEAN_STOP_S + BUSY_S
    rig.start(*VIEWS)
    ends = rig.settle()
    rig.stop(*VIEWS)
    rig.prove(ends)


@pytest.mark.parametrize("how", ["frozen", "killed"])
@pytest.mark.parametrize("server", ["kafka", "nats"])
def test_a_stop_while_a_server_is_away_ends_in_time_and_the_next_start_goes_on(rig: Rig, server: str, how: str) -> None:
    rig.start(*VIEWS)
    rig.writer.write(5)
    rig.finish()
    with rig.writer.load(), away(rig.stack.services[server], how):
        began = time.monotonic()
        for view in VIEWS:
            rig.flows[view].signal(signal.SIGTERM)
        codes = {view: rig.flows[view].wait(PATIENCE_S) for view in VIEWS}
        took = time.monotonic() - began
    assert set(codes.values()) <= {0, 1}, codes
    assert server == "kafka" or (codes["derive"], codes["archive"]) == (0, 0), codes
    assert took < AWAY_STOP_S + BUSY_S, codes
    rig.start(*VIEWS)
    ends = rig.settle()
    rig.stop(*VIEWS)
    rig.prove(ends)
