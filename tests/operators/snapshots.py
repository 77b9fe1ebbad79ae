"""Golden snapshots: `python -m tests.operators.snapshots` writes one for each present version that has none yet.

A file is never changed nor deleted: recovery stores of that version exist. `golden/LOGIC-VERSION.msgpack` is what
`LOGIC` left of a small plant.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from assets.batch import DerivedBatch
from assets.frame import DerivedEvent
from operators import _assets, live_values
from operators._assets import Assets
from operators.live_values import LiveValues
from operators.rules import Rules
from tests.streams import S, batch, definition, frame, tick

GOLDEN: Final = Path(__file__).parent / "golden"
MODEL: Final = definition(
    running={"rule": "durations", "item": "state"},
    overheat={"rule": "alarm", "item": "temperature", "above": 90.0, "on_delay": 5 * S},
    availability={"rule": "availability"},
)


def _records() -> list[Any]:
    """Two assets that tell values, one of them with an alarm that is pending, and one that was removed."""
    told = [frame(1, ("_model", MODEL.value()), ("_availability", "AVAILABLE"), asset=f"press-0{n}") for n in (1, 2, 3)]
    for each in told:
        each.model = MODEL.model
    values = [
        frame(2, ("state", "Execute"), ("temperature", 81.5, 0, 1.5)),
        frame(3, ("state", "Idle", 0, 2.5), asset="press-02"),
        frame(4, ("temperature", 95.5, 0, 4)),
        frame(5, ("_removed", True), asset="press-03"),
    ]
    for each in values:
        each.model = MODEL.model
    return [*told, *values, tick(6, "s", "m")]


def _event(asset: str, at: int) -> DerivedEvent:
    name = f"0:{at}:0:running:0"
    return DerivedEvent(1, asset, "running", at, "Execute", None, None, None, None, 0, name, (0, at, 0), "durations", 1)


def rules() -> Assets[Any]:
    """The rules of a plant."""
    made: Assets[Any] = Assets(0, "rules", Rules)
    made.batch(batch(_records()))
    return made


def live() -> LiveValues:
    """The live values of a plant; events wait for an asset and for a record."""
    made = LiveValues()
    made.batch(batch(_records()))
    made.derived(DerivedBatch(0, 0, 2, [0, 1], [_event("press-09", 3), _event("press-01", 99)]))
    return made


LOGICS: Final[dict[str, tuple[int, Callable[[], Any], Callable[[], Any]]]] = {
    "asset_state": (_assets.SNAPSHOT_VERSION, rules, lambda: Assets(0, "rules", Rules)),
    "live_values": (live_values.SNAPSHOT_VERSION, live, LiveValues),
}
"""By the public module that has the version: the version, what leaves a snapshot, and what takes one over."""


def golden(name: str, version: int) -> Path:
    """Where the snapshot of a version is kept."""
    return GOLDEN / f"{name}-{version}.msgpack"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, (version, full, _) in LOGICS.items():
        if not golden(name, version).exists():
            golden(name, version).write_bytes(full().save())
