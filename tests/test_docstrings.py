"""Docstrings: their examples are true, and every public module, class and function has one."""

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("assets", "sources", "operators", "sinks", "flows", "replay", "deploy", "bench", "docs")


def modules() -> list[str]:
    """All modules of the product, without those that run when they are imported."""
    found = []
    for package in PACKAGES:
        found += [m.name for m in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")]
    return sorted(name for name in found if not name.endswith("__main__"))


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_are_true(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.parametrize("name", modules())
def test_a_module_and_what_is_public_in_it_say_what_they_are(name: str) -> None:
    tree = ast.parse(Path(importlib.import_module(name).__file__ or "").read_text())
    silent = [] if ast.get_docstring(tree) else [name]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            silent += [] if ast.get_docstring(node) else [f"{name}.{node.name}"]
    assert silent == []
