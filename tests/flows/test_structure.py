"""Step ids are promises: state is kept under them, so a changed one is a breaking change and must be seen in a diff."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource
from bytewax.visualize import to_json, to_mermaid

from assets.plant import Plant
from flows import archive, derive, ingest, serve
from flows._gateway import Gateway

HERE = Path(__file__).parent
EDGES: Any = TestingSource([])


def sink() -> Any:
    """Somewhere to write to."""
    return TestingSink([])


def flows() -> dict[str, Dataflow]:
    """Every flow between edges that do nothing."""
    gateway = Gateway("gw-1", 1, Plant(Path(), {}, {}), 12, ())
    return {
        "ingest": ingest.build(gateway, EDGES, sink(), sink()),
        "derive": derive.build(12, EDGES, sink(), sink()),
        "serve": serve.build(12, EDGES, EDGES, sink(), sink()),
        "archive": archive.build(12, EDGES, EDGES, sink(), sink(), sink()),
    }


def step_ids(flow: Dataflow) -> list[str]:
    """All step ids of a flow, also inside operators."""
    return sorted(set(re.findall(r'"step_id": "([^"]+)"', json.dumps(json.loads(to_json(flow))))))


def test_step_ids_are_those_that_were_promised() -> None:
    found = "\n".join(step for flow in flows().values() for step in step_ids(flow)) + "\n"
    promised = HERE / "step_ids.txt"
    assert found == promised.read_text(), "a renamed step loses its state: say so in CHANGELOG under Breaking"


@pytest.mark.parametrize("name", ["ingest", "derive", "serve", "archive"])
def test_the_picture_of_a_flow_is_true(name: str) -> None:
    assert to_mermaid(flows()[name]).strip() == (HERE / f"{name}.mmd").read_text().strip()


def test_every_public_module_is_a_flow() -> None:
    folder = HERE.parents[1] / "flows"
    public = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert public == set(flows())


@pytest.mark.parametrize("name", ["ingest", "derive", "serve", "archive"])
def test_a_flow_fits_on_one_screen(name: str) -> None:
    assert len((HERE.parents[1] / "flows" / f"{name}.py").read_text().splitlines()) <= 70
