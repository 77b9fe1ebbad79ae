"""The folder is the registry."""

import sys
from pathlib import Path

import pytest

from assets.plugins import discover


def test_public_modules_with_the_class_are_found_by_being_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_protocols"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name, text in {
        "zig": "class Config: pass",
        "ant": "class Config: pass",
        "_own": "class Config: pass",
        "kafka": "Other = 1",
        "table": "Config = {}",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = discover("some_protocols", "Config")
    assert list(found) == ["ant", "zig"]
    assert all(sys.modules[config.__module__].__name__ == f"some_protocols.{name}" for name, config in found.items())


def test_protocols_and_rules_of_the_project_are_found() -> None:
    assert {"modbus"} <= set(discover("sources", "Config"))
    assert {"alarm", "availability", "durations"} <= set(discover("operators", "Spec"))
