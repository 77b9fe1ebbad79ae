"""What fails shows the last lines of every log written meanwhile, so that its output alone can be understood."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.processes import last_lines

LINES: Final = 40
BEGAN: Final = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the logs beside what pytest has caught."""
    began = item.stash.setdefault(BEGAN, call.start)
    report = yield
    if report.failed:
        report.sections += written_since(began, item.config)
    return report


def written_since(began: float, config: Any) -> Iterator[tuple[str, str]]:
    """The logs below the session's folder that have grown since an instant: a title, and their last lines."""
    folder: Path = config._tmp_path_factory.getbasetemp()
    for log in sorted(folder.rglob("*.log")):
        words = not log.stem.isdecimal()  # the broker's segments have offsets for names
        if words and log.is_file() and log.stat().st_mtime >= began:
            yield f"last lines of {log.relative_to(folder)}", last_lines(log, LINES)
