"""Examples in docstrings run."""

import doctest
import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "assets"
WITH_EXAMPLES = sorted(file.stem for file in FOLDER.glob("*.py") if ">>>" in file.read_text())


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_an_example_says_what_comes_out(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"assets.{module}")).failed == 0
