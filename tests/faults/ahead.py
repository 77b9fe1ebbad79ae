"""Ingest on a machine whose clock is an hour ahead."""

import time
from typing import Final

from bytewax.dataflow import Dataflow

from flows import ingest

AHEAD_S: Final = 3600


def flow() -> Dataflow:
    """The flow, from the start on with the wrong clock."""
    right = time.time_ns
    time.time_ns = lambda: right() + AHEAD_S * 1_000_000_000
    return ingest.flow()
