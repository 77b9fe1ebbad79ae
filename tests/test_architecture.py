"""The dependency rule and the limits of each folder, read from the source; one case per file."""

import ast
import sys
import tokenize
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("assets", "sources", "operators", "sinks", "flows", "replay", "deploy", "bench", "tests")
PACKAGES = OURS[:6]

MAY_IMPORT = {
    "assets": ["assets"],
    "sources": ["assets", "sources"],
    "operators": ["assets", "operators"],
    "sinks": ["assets", "sinks"],
    "flows": ["assets", "sources", "operators", "sinks", "flows"],
    "replay": ["assets", "sources", "operators", "sinks", "flows", "replay"],
}
"""replay -> flows -> sources | operators | sinks -> assets; deploy, bench and tests may import all."""

LIBRARIES = {
    "assets": {"pydantic", "msgspec"},
    "operators": {"pydantic", "msgspec", "bytewax"},
}
"""All that these folders may import beside the standard library and our own."""

HOMES = {
    "yaml": ("assets/_yaml.py",),
    "asyncua": ("sources/opcua.py", "sources/_"),
    "pymodbus": ("sources/modbus.py", "sources/_"),
    "confluent_kafka": ("sources/kafka.py", "sources/_", "sinks/kafka.py", "sinks/_"),
    "nats": ("sinks/nats.py", "sinks/_"),
    "pyarrow": ("sinks/parquet.py", "sinks/_"),
    "duckdb": ("replay/",),
    "polars": ("replay/",),
    "rich": ("replay/",),
}
"""Vendor clients, each with the public file that wraps it; the folder's private helpers may share the work."""

REGISTRIES = {"sources"}
"""Packages whose `__init__` finds its own public modules."""

NO_WORLD = {
    "random", "secrets", "uuid", "time", "socket", "ssl", "select", "selectors", "asyncio", "threading", "subprocess",
    "multiprocessing", "os", "pathlib", "io", "shutil", "tempfile", "glob", "http", "urllib", "sqlite3", "logging",
}  # fmt: skip
"""A rebuilt view equals the live one only if operators see nothing but the stream."""

FILES = sorted(
    file.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*.py") if file.is_file()
)
OPERATORS = [file for file in FILES if file.parts[0] == "operators"]
FLOWS = [file for file in FILES if file.parts[0] == "flows"]


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file, also inside functions, with its line."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, f"{'.' * node.level}{node.module or ''}"


def code_lines(file: Path) -> int:
    with (ROOT / file).open("rb") as source:
        return max(token.end[0] for token in tokenize.tokenize(source.readline))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_imports_only_what_its_folder_may(file: Path) -> None:
    folder = file.parts[0]
    may = MAY_IMPORT[folder]
    wrong = [
        f"{file}:{line}: {folder}/ may not import {name}; it may import {may}"
        for line, name in imports(file)
        if name.startswith(".") or (name.split(".")[0] in OURS and name.split(".")[0] not in may)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_files_import_each_other_in_a_circle_not_even_for_their_types() -> None:
    modules = {".".join(file.with_suffix("").parts): file for file in FILES if file.name != "__init__.py"}
    order = TopologicalSorter({m: {name for _, name in imports(file)} & set(modules) for m, file in modules.items()})
    try:
        order.prepare()
    except CycleError as circle:
        pytest.fail(" imports ".join(reversed(circle.args[1])))


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[0] in LIBRARIES], ids=str)
def test_assets_and_operators_need_no_other_library(file: Path) -> None:
    folder = file.parts[0]
    known = {*sys.stdlib_module_names, *OURS, *LIBRARIES[folder]}
    wrong = [
        f"{file}:{line}: {folder}/ may not import {name}; it may import {sorted(LIBRARIES[folder])}"
        for line, name in imports(file)
        if (top := name.split(".")[0]) not in known and not str(file).startswith(HOMES.get(top, ("none",)))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_vendor_client_stays_in_its_file(file: Path) -> None:
    wrong = [
        f"{file}:{line}: {name} belongs into {', '.join(HOMES[name.split('.')[0]])}"
        for line, name in imports(file)
        if not str(file).startswith(HOMES.get(name.split(".")[0], (file.parts[0],)))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_wraps_one_vendor_client_at_most(file: Path) -> None:
    assert file.parts[0] == "replay" or len({name.split(".")[0] for _, name in imports(file)} & set(HOMES)) <= 1


@pytest.mark.parametrize("file", OPERATORS, ids=str)
def test_an_operator_sees_no_clock_no_chance_and_no_world(file: Path) -> None:
    wrong = [f"{file}:{line}: operators/ may not import {name}" for line, name in imports(file) if name in NO_WORLD]
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"} and _is_clock(node.value):
            wrong.append(f"{file}:{node.lineno}: operators/ may not read the clock")
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"open", "print", "input"}
        ):
            wrong.append(f"{file}:{node.lineno}: operators/ may not call {node.func.id}()")
    assert not wrong, "\n".join(wrong)


def _is_clock(value: ast.expr) -> bool:
    return ast.unparse(value) in {"datetime", "datetime.datetime", "date", "datetime.date"}


@pytest.mark.parametrize("file", OPERATORS, ids=str)
def test_an_operator_imports_the_engine_only_to_describe_itself(file: Path) -> None:
    engine = {name for _, name in imports(file) if name.split(".")[0] == "bytewax"}
    assert engine <= {"bytewax.operators", "bytewax.dataflow"}


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[0] == "assets"], ids=str)
def test_assets_never_import_the_engine(file: Path) -> None:
    assert "bytewax" not in {name.split(".")[0] for _, name in imports(file)}


@pytest.mark.parametrize("file", [file for file in FLOWS if not file.name.startswith("_")], ids=str)
def test_a_flow_has_no_classes(file: Path) -> None:
    classes = [node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.ClassDef)]
    assert classes == []


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_begins_with_a_sentence_and_is_no_longer_than_250_lines(file: Path) -> None:
    sentence = (ast.get_docstring(ast.parse((ROOT / file).read_text())) or "").split("\n\n")[0]
    assert sentence.endswith((".", ":", "`")), f"{file}: begins with no sentence"
    assert code_lines(file) <= 251, f"{file}: has {code_lines(file)} lines"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_function_is_longer_than_40_lines(file: Path) -> None:
    long = [
        f"{file}:{node.lineno}: {node.name} has {lines} lines"
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.body[0].lineno + 1) > 40
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_may_live_there(package: str) -> None:
    init = ROOT / package / "__init__.py"
    if not any((ROOT / package).glob("*.py")):
        pytest.skip(f"{package}/ has no file yet")
    text = ast.get_docstring(ast.parse(init.read_text())) or ""
    assert text.count(".") >= 2, f"{package}/__init__.py does not say in two sentences what may live there"
    more = len(ast.parse(init.read_text()).body) > 1
    assert not more or package in REGISTRIES, f"{package}/__init__.py holds more than its docstring"


def test_tests_have_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_rule_finds_what_breaks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = Path("operators") / "wrong.py"
    (tmp_path / "operators").mkdir()
    (tmp_path / file).write_text('"""Wrong."""\n\nimport time\n\nfrom sinks.kafka import StreamSink\n')
    with pytest.raises(AssertionError, match=r"operators/wrong\.py:5: operators/ may not import sinks\.kafka; it may"):
        test_a_file_imports_only_what_its_folder_may(file)
    with pytest.raises(AssertionError, match=r"operators/wrong\.py:3: operators/ may not import time"):
        test_an_operator_sees_no_clock_no_chance_and_no_world(file)
