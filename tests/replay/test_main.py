"""The commands: what scripts can rely on (exit codes, one JSON object) and what people read."""

import json

import pytest

from replay.__main__ import main
from tests.replay.live_plant import Plant


@pytest.fixture
def here(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Plant:
    for name, value in plant.environment.items():
        monkeypatch.setenv(name, value)
    return plant


@pytest.mark.usefixtures("here")
def test_with_json_each_command_prints_one_object_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    results = {}
    for command in ("rebuild derive", "verify derive", "audit"):
        assert main([*command.split(), "--json"]) == 0
        told = capfd.readouterr()
        assert told.err == ""
        results[command] = json.loads(told.out)
    assert results["rebuild derive"].keys() >= {"view", "generation", "records", "written", "seconds", "rate"}
    assert results["verify derive"]["differences"] == 0
    assert results["audit"]["unexplained"] == 0
    assert results["audit"]["sources"]["s"]["received"] == 1610


@pytest.mark.usefixtures("here")
def test_people_get_sentences(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["rebuild", "derive"]) == 0
    assert 'rebuilt view "derive" into generation 2 (1 is live): read 2,690 records in' in capfd.readouterr().out
    assert main(["verify", "derive"]) == 0
    assert 'view "derive", generation 2 compared with 1: equal; 145 rows of 24 series' in capfd.readouterr().out
    assert main(["audit"]) == 0
    assert "2,835 records read, 0 undecodable; unexplained: 0" in capfd.readouterr().out


@pytest.mark.usefixtures("here")
def test_the_live_generation_is_never_replaced(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["rebuild", "derive", "--generation", "1"]) == 2
    expected = 'could not rebuild view "derive" into generation 1: it is live; choose another one, for instance '
    assert capfd.readouterr().err == f"{expected}--generation 2\n"


@pytest.mark.usefixtures("here")
def test_an_end_beyond_the_stream_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["rebuild", "derive", "--to", "3:9999"]) == 2
    assert capfd.readouterr().err == (
        'could not rebuild up to offset 9999 of topic "asset-stream" partition 3: it has offsets 0 to 285\n'
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("verify nothing", "invalid choice: 'nothing' (choose from"),
        ("rebuild derive --generation 0", 'expected a number from 1 on; it is "0"'),
        ("rebuild derive --to yesterday", 'offsets by partition (0:1200,5:340); it is "yesterday"'),
        ("rebuild derive --from 2026-11-20T06:30", 'expected "now", an instant with its zone (2026-11-20T06:30:00Z)'),
        ("", "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(arguments: str, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    assert told in capfd.readouterr().err


def test_a_broker_that_is_away_is_told_in_one_line(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "127.0.0.1:1")
    assert main(["audit", "--json"]) == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert "kafka at 127.0.0.1:1 does not answer" in told.err
    assert len(told.err.splitlines()) == 1
