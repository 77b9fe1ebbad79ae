"""The documentation is true: examples run, plants load, commands resolve, links lead somewhere."""

import importlib
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest
from bytewax.testing import run_main

from assets.batch import Batch, DerivedBatch
from assets.connection import KafkaConnection
from assets.frame import DerivedEvent, Frame, Observation, decode_event, encode_frame
from assets.plant import load
from assets.plugins import discover
from assets.stream import partition_of
from deploy.cli import COMMANDS, flows
from docs import __main__ as reference
from docs._excerpts import refreshed
from docs.examples import overheat
from replay.archive import connect, write_views
from sinks.kafka import StreamSink, TopicSpec, ensure_topics
from sinks.parquet import DerivedSink, ObservationSink
from sources._partition import Stop
from sources.kafka import StreamSource, read_range, watermarks
from tests.streams import S, definition, frame

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """All blocks of these languages, in the order of the pages."""
    return [block for page in PAGES for block in _blocks(page) if block.language in languages]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in re.finditer(r"^( *)```(\w*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE):
        yield Block(page, text.count("\n", 0, match.start()) + 1, match[2], textwrap.dedent(match[3]))


def files(*folders: str) -> list[str]:
    """The texts from which an excerpt may come."""
    return [path.read_text() for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


EXCERPTS = [text for text in files("docs/examples", "tests/docs", "flows") if text]


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_a_python_block_is_an_excerpt_of_a_tested_file_or_runs(
    block: Block, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(block.text.rstrip() in text for text in EXCERPTS):
        return
    (tmp_path / ".data" / "archive").mkdir(parents=True)
    (tmp_path / ".data" / "archive" / "g1").symlink_to(archive)
    monkeypatch.chdir(tmp_path)
    program = compile(block.text, str(block), "exec")
    with redirect_stdout(StringIO()):
        exec(program, {"__name__": "block"})


@pytest.mark.parametrize("page", [page for page in PAGES if "```yaml" in page.read_text()], ids=lambda p: p.name)
def test_the_yaml_of_a_page_is_a_plant(page: Path, tmp_path: Path) -> None:
    written = [block.text for block in _blocks(page) if block.language == "yaml"]
    for number, text in enumerate(written):
        (tmp_path / f"{number:02}.yaml").write_text(text)
    environment = dict.fromkeys(re.findall(r"\$\{env:(\w+)", "".join(written)), "x")
    assert load(tmp_path, environment).assets


def test_the_problems_that_are_shown_are_those_that_are_found() -> None:
    shown = (ROOT / "docs" / "configuration.md").read_text()
    assert (ROOT / "tests/cases/plant/ten-mistakes/error.txt").read_text().rstrip() in shown


COMMAND_LINES = [
    (block, line.partition(" #")[0].strip())
    for block in blocks("sh")
    for line in block.text.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
RECIPES = re.findall(r"^(\w+)(?: [\w*]+)*:", (ROOT / "justfile").read_text(), re.MULTILINE)
SHELL = {"git", "cd", "kill", "rm", "duckdb"}
_helped: dict[tuple[str, ...], int] = {}


@pytest.mark.parametrize(("block", "line"), COMMAND_LINES, ids=lambda value: str(value)[:60])
def test_a_command_exists(block: Block, line: str) -> None:
    words = [word for word in line.split() if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    if not words or words[0] in SHELL or words[0] == "export":
        return
    if words[0] == "just":
        assert len(words) == 1 or words[1] in RECIPES, f'{block}: there is no recipe "{words[1]}"'
        return
    assert words[0] in {"python", "python3", ".venv/bin/python"}, f"{block}: {line}"
    assert words[1] == "-m", f"{block}: {line}"
    _check_module(words[2], words[3:], str(block))


def _check_module(module: str, arguments: list[str], where: str) -> None:
    if module == "deploy":
        assert not arguments or arguments[0] in COMMANDS, f'{where}: deploy has no command "{arguments[0]}"'
        if arguments[:1] == ["flow"]:
            assert arguments[1] in flows() or importlib.import_module(arguments[1]).flow, where
    elif module == "bytewax.run":
        name = re.match(r"\"?([\w.]+)", arguments[0])
        assert name is not None, where
        assert callable(importlib.import_module(name[1]).flow), where
    else:
        assert _help(module, *[word for word in arguments[:1] if word.isalpha()]) == 0, where


def _help(module: str, *arguments: str) -> int:
    command = (module, *arguments, "--help")
    if command not in _helped:
        _helped[command] = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, check=False
        ).returncode
    return _helped[command]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    missing = []
    for target in re.findall(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            missing.append(target)
    assert missing == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)\s#]+)", page.read_text())
        ahead += [(page.parent / target).resolve() for target in targets if "://" not in target]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in reached] == []


def test_the_generated_pages_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check"]) == 0, capsys.readouterr().err


def test_an_outdated_page_is_named_and_written_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    monkeypatch.setattr(reference, "pages", list)
    assert reference.main([]) == 0
    (tmp_path / "rules.md").write_text("old")
    assert reference.main(["--check"]) == 1
    assert "rules.md is out of date" in capsys.readouterr().err
    assert (tmp_path / "rules.md").read_text() == "old"
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def test_an_excerpt_is_renewed_from_its_file() -> None:
    page = "Text.\n\n<!-- excerpt: tests/test_docs.py | PAGES | PAGES_END -->\n```python\nold\n```\n\nMore.\n"
    with pytest.raises(
        ValueError, match=r'could not find the excerpt of tests/test_docs\.py: no line starts with "PAGES_'
    ):
        refreshed(page)
    line = next(line for line in Path(__file__).read_text().splitlines() if line.startswith("ROOT"))
    page = page.replace("PAGES_END", "@pytest.mark").replace("| PAGES", "| ROOT").replace("@pytest.mark", "PAGES")
    assert refreshed(page) == page.replace("old", line)


@pytest.mark.parametrize(
    ("page", "folder", "attribute"), [("sources.md", "sources", "Config"), ("rules.md", "operators", "Spec")]
)
def test_every_option_of_every_plugin_has_its_line_and_its_text(page: str, folder: str, attribute: str) -> None:
    text = (ROOT / "docs" / "reference" / page).read_text()
    for kind, model in discover(folder, attribute).items():
        section = text.partition(f"## {kind}\n")[2].partition("\n## ")[0]
        for name, field in model.model_fields.items():
            shown = kind if (attribute, name) == ("Spec", "item") else name
            assert f"| `{shown}` |" in section, f"{kind}.{name}"
            assert field.description, f"{kind}.{name} has no description"


def test_the_readme_names_every_flow_and_command() -> None:
    text = (ROOT / "README.md").read_text()
    missing = [name for name in (*flows(), *COMMANDS) if not re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", text)]
    assert missing == []


@pytest.mark.parametrize("module", ["replay", "assets"])
def test_every_command_of_a_module_is_described(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    commands = re.findall(r"^ {4}(\w[\w-]*)", done.stdout, re.MULTILINE)
    text = "".join(page.read_text() for page in PAGES)
    assert [name for name in commands if f"python -m {module} {name}" not in text] == []


def test_every_variable_of_the_environment_is_described() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    code = "".join((ROOT / file).read_text() for file in ("flows/_site.py", "assets/connection.py", "deploy/stack.py"))
    names = {name for name in re.findall(r"\b(?:PENSTOCK|KAFKA|NATS)_[A-Z]+\b", code) if not name.endswith("_PORT")}
    assert sorted(name for name in names if name not in text) == []


@pytest.mark.parametrize("golden", sorted((ROOT / "tests/assets/golden").iterdir()), ids=lambda path: path.name)
def test_the_contract_shows_the_golden_records_verbatim(golden: Path) -> None:
    text = (ROOT / "docs" / "stream-contract.md").read_text()
    assert golden.read_text().strip() in text


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_a_json_block_is_json(block: Block) -> None:
    for line in block.text.strip().splitlines():
        json.loads(line)


# the archive of the examples: two presses on one day, made by the sinks that write the real one

DAY_US = 1_763_596_800_000_000  # 2025-11-20T00:00:00Z


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive") / "g1"
    records = [_frame(n, asset) for n in range(60) for asset in ("press-01", "press-02")]
    offsets = list(range(len(records)))
    part = ObservationSink(root, "asset-stream", Stop()).build_part("archive", "0003", None)
    part.write_batch([Batch(3, 0, len(records), offsets, list(records), end=True)])
    part.snapshot()
    part.close()
    events = [_event(0, None, "Execute"), _event(20, "Execute", "Held"), _event(45, "Held", "Execute")]
    derived = DerivedSink(root, "asset-state.g1", Stop()).build_part("archive", "0003", None)
    derived.write_batch([DerivedBatch(3, 0, len(events), list(range(len(events))), events, end=True)])
    derived.snapshot()
    derived.close()
    write_views(root)
    return root


def _frame(n: int, asset: str) -> Frame:
    at = DAY_US + 8 * 3600 * S + n * 60 * S
    observations = [
        Observation("temperature", 70.0 + n / 2, 0, at - 5_000),
        Observation("state", "Held" if 20 <= n < 45 else "Execute", 0, at - 5_000),
        Observation("parts", n, 0, at - 5_000),
    ]
    return Frame(1, asset, "forming", "gw-1", DAY_US, n + 1, at, "m", observations)


def _event(minute: int, previous: str | None, value: str) -> DerivedEvent:
    at = DAY_US + 8 * 3600 * S + minute * 60 * S
    origin = (3, 2 * minute, 1)
    since = None if previous is None else DAY_US + 8 * 3600 * S
    return DerivedEvent(
        1, "press-01", "running", at, value, previous, since, at if since else None, at - since if since else None,
        0, f"3:{2 * minute}:1:running:0", origin, "durations", 1,
    )  # fmt: skip


@pytest.mark.parametrize("block", blocks("sql"), ids=str)
def test_a_query_finds_rows(block: Block, archive: Path) -> None:
    connection = connect(archive)
    for query in filter(str.strip, block.text.split(";")):
        assert connection.execute(query).fetchall(), f"{block}: no rows: {query}"


def test_the_queries_work_in_any_duckdb(archive: Path) -> None:
    connection = duckdb.connect()
    connection.execute((archive / "views.sql").read_text())
    assert connection.execute("SELECT count(*) FROM observations").fetchall() == [(360,)]


def test_every_view_and_macro_is_in_the_page_on_queries() -> None:
    text = (ROOT / "docs" / "querying.md").read_text()
    sql = (ROOT / "replay" / "views.sql").read_text()
    names = set(re.findall(r"CREATE OR REPLACE (?:VIEW|MACRO) (\w+)", sql)) - {"files_of"}
    assert sorted(name for name in names if f"`{name}" not in text) == []


@pytest.mark.slow
def test_the_example_flow_runs_on_a_real_broker(kafka: str, unique: Callable[[str], str]) -> None:
    connection, stop = KafkaConnection(bootstrap=kafka), Stop()
    stream, out = unique("asset-stream"), unique("overheat")
    ensure_topics(connection, [TopicSpec(name=stream, partitions=2), TopicSpec(name=out, like=stream)])
    partition = partition_of("press-01", 2)
    _write(connection, stream, partition, stop)
    for _ in range(2):  # the second run derives the same again and finds it written
        source = StreamSource(connection, stream, stop, bounds=watermarks(connection, stream))
        run_main(overheat.build(2, source, StreamSink(connection, out, stop, resume="prefix")))
    found = [
        decode_event(value)
        for batch in read_range(connection, out, watermarks(connection, out))
        for value in batch.values
        if value is not None
    ]
    assert [(event.asset, event.metric, event.value, event.time) for event in found] == [
        ("press-01", "overheat", True, 20 * S),
        ("press-01", "overheat", False, 30 * S),
    ]


def _write(connection: KafkaConnection, topic: str, partition: int, stop: Stop) -> None:
    from assets.batch import Outgoing, stream_key

    frames = [
        frame(0, ("_model", definition().value()), ("_availability", "AVAILABLE")),
        frame(10, ("temperature", 95.0)),
        frame(20, ("temperature", 95.5)),
        frame(30, ("temperature", 80.0)),
    ]
    part = StreamSink(connection, topic, stop, resume="prefix").build_part("test", stream_key(partition), None)
    part.write_batch([[Outgoing(partition, b"press-01", encode_frame(each)) for each in frames]])
    part.snapshot()
    part.close()
