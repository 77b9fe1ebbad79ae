"""The example of a rule kind, in its place: discovered by its file, checked by the plant, run and cut anywhere."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import operators

operators.__path__.append("docs/examples/operators")  # as if the file lay in operators/

from assets.plant import PlantError, load
from operators.rules import KINDS, Rules
from tests.operators.world import EXAMPLES
from tests.streams import cut, definition, frame, run, said

assert "entries" in KINDS
RULE = {"rule": "entries", "item": "state", "into": "Execute"}
STATES = ["Execute", "Held", "Execute", "Execute", "Idle", "Execute"]
stream = [frame(0, ("_model", definition(starts=RULE).value()))]
stream += [frame(at, ("state", state)) for at, state in enumerate(STATES, 1)]
events = run(Rules, stream)
assert said(events, "starts") == [(1, 3), (2, 6)], events
assert events[0].operator == "entries"
assert EXAMPLES["starts"]["rule"] == "entries"  # the contract runs it as well
assert all(cut(Rules, stream, [at]) == events for at in range(len(stream)))
"""


def test_a_rule_kind_is_one_file() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
