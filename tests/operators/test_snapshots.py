"""Snapshots of every version there was are read or refused with what to do; a changed shape needs a new version."""

from pathlib import Path

import pytest

from operators._snapshot import SnapshotError
from tests.operators.contract import modules
from tests.operators.snapshots import GOLDEN, LOGICS, golden

WRITE = "python -m tests.operators.snapshots"


def test_every_step_with_versioned_state_has_golden_snapshots() -> None:
    versioned = {name for name, module in modules().items() if hasattr(module, "SNAPSHOT_VERSION")}
    assert versioned == set(LOGICS), "add the newcomer to tests/operators/snapshots.py"
    for name, (version, _, _) in LOGICS.items():
        assert golden(name, version).exists(), f"version {version} of {name} has no golden snapshot; write it: {WRITE}"


@pytest.mark.parametrize("name", LOGICS)
def test_the_shape_of_a_version_never_changes(name: str) -> None:
    version, full, empty = LOGICS[name]
    kept = golden(name, version).read_bytes()
    again = empty()
    again.load(kept)
    thaw(again)
    told = f"raise SNAPSHOT_VERSION of {name} (stores of version {version} have another shape), then: {WRITE}"
    assert again.save() == kept, told
    fresh = empty()
    fresh.load(full().save())
    thaw(fresh)
    assert fresh.save() == full().save()


def thaw(logic: object) -> None:
    """Let what is encoded once be encoded again."""
    for part in vars(logic).values():
        if hasattr(part, "_frozen"):
            part._frozen = None


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.msgpack")), ids=lambda path: path.stem)
def test_a_snapshot_of_any_version_is_read_or_refused_with_what_to_do(path: Path) -> None:
    name, _, version = path.stem.rpartition("-")
    present, _, empty = LOGICS[name]
    if int(version) == present:
        empty().load(path.read_bytes())
    else:
        with pytest.raises(SnapshotError, match=r'^snapshot of step "\w+" .* delete the recovery store of this flow$'):
            empty().load(path.read_bytes())
