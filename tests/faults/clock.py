"""Ingest on a machine whose clock is as many seconds ahead as a file says, which may change while it runs."""

import os
import time
from pathlib import Path
from typing import Final

from bytewax.dataflow import Dataflow

from flows import ingest

FILE: Final = "TESTS_CLOCK_AHEAD"
"""The variable that names the file."""


def flow() -> Dataflow:
    """The flow, from the start on with such a clock."""
    right, file = time.time_ns, Path(os.environ[FILE])
    time.time_ns = lambda: right() + int(file.read_text()) * 1_000_000_000
    return ingest.flow()
