"""The first command on a bare machine: which Python it takes, and what it says where there is none."""

import ast
import sys
from pathlib import Path

import pytest

from deploy import bootstrap


@pytest.mark.parametrize("name", ["__init__", "__main__", "bootstrap"])
def test_what_runs_before_the_environment_parses_on_old_pythons(name: str) -> None:
    source = (bootstrap.ROOT / "deploy" / f"{name}.py").read_text()
    ast.parse(source, feature_version=(3, 6))


@pytest.mark.parametrize("name", ["__main__", "bootstrap"])
def test_what_runs_before_the_environment_needs_only_the_standard_library(name: str) -> None:
    tree = ast.parse((bootstrap.ROOT / "deploy" / f"{name}.py").read_text())
    imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    outside = {module.split(".")[0] for module in imports} - sys.stdlib_module_names
    assert outside <= {"deploy"}


def test_a_wrong_python_is_told_what_to_install() -> None:
    assert bootstrap.python_problem((3, 9), has_venv=True) == (
        "could not set up Penstock with Python 3.9: it needs Python 3.11 or 3.12, and none is on PATH; install one "
        "(Debian 12: apt-get install python3 python3-venv; Ubuntu 24.04: apt-get install python3.12 python3.12-venv; "
        "others: https://www.python.org/downloads) and run the command again"
    )


def test_a_missing_venv_module_is_told_what_to_install() -> None:
    assert bootstrap.python_problem((3, 11), has_venv=False) == (
        f"could not set up Penstock with {sys.executable}: its venv module is missing or incomplete; "
        "install it (Debian, Ubuntu: apt-get install python3-venv) and run the command again"
    )


def test_a_supported_python_with_venv_has_no_problem() -> None:
    assert bootstrap.python_problem((3, 12), has_venv=True) == ""


def test_a_changed_lock_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "LOCK", tmp_path / "requirements.lock")
    bootstrap.LOCK.write_text("one==1")
    assert not bootstrap.is_whole()
    (tmp_path / bootstrap.STAMP).write_text(bootstrap._lock_hash())
    assert bootstrap.is_whole()
    bootstrap.LOCK.write_text("one==2")
    assert not bootstrap.is_whole()


def test_an_interrupted_set_up_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    (tmp_path / bootstrap.STAMP).write_text(bootstrap._lock_hash())
    (tmp_path / bootstrap.UNFINISHED).touch()
    assert not bootstrap.is_whole()
