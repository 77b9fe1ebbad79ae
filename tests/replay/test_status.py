"""Asked of a real broker whose stream nobody writes to any more, and of one that has no record."""

import json
from collections.abc import Iterator

import pytest

from deploy.stack import Stack
from flows._site import Site
from replay.__main__ import main
from replay.status import Status, ViewStatus, status
from tests.replay.live_plant import Plant


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("empty")
    with Stack(folder) as stack:
        site = Site.from_environment({**stack.environment, "PENSTOCK_DATA": str(folder)})
        site.create_topics()
        yield site


def test_a_silent_stream_is_told_with_its_silence_and_ends_with_1(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in plant.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["status", "--max-silence", "1us"]) == 1
    told = capfd.readouterr().out
    assert "records, the last" in told.splitlines()[0]
    assert "derive: generation 1, 0 records behind\n" in told
    assert "until one does nothing is derived" in told
    assert main(["status", "--max-silence", "7d", "--max-behind", "0", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["faults"] == []
    assert 0 < found["silent_s"] < 7 * 86_400
    assert found["views"].keys() == {"derive", "serve", "archive"}


def test_a_stream_without_records_is_not_well(empty: Site) -> None:
    found = status(empty)
    assert (found.records, found.silent_s) == (0, None)
    assert found.faults(1e9) == ["the stream has no record: no gateway has ever written to it; start ingest"]


def test_a_view_far_behind_is_not_well_where_a_limit_is_given() -> None:
    found = Status(10, 0.5, {"serve": ViewStatus(1, 1_001), "archive": ViewStatus(1, 1_000)})
    assert found.faults(10) == []
    assert found.faults(10, 1_000) == ["serve is 1,001 records behind (limit 1,000): look at its log"]


def test_a_limit_that_is_no_duration_is_refused_with_an_example(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["status", "--max-silence", "soon"])
    assert "expected a duration such as 100ms, 5s, 2m, 1h or 7d; it is 'soon'" in capfd.readouterr().err
