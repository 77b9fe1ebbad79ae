"""A source whose first run was killed before Kafka answered: the next run tells since when it had been read."""

from dataclasses import replace
from pathlib import Path

import pytest

from assets.condition import Unavailable
from assets.plant import load
from assets.reading import Reading, Readings
from flows._began import Began
from flows._gateway import Gateway
from flows._site import Site
from tests.flows.test_gateway import PLANT, tails, told
from tests.streams import S, frame, tick


def test_each_start_is_told_what_the_first_one_has_noted(tmp_path: Path) -> None:
    assert Began(tmp_path, "gw-1").note(["s", "a/b"], 1) == {}
    assert Began(tmp_path, "gw-1").note(["s", "t", "a/b"], 2) == {"s": 1, "a/b": 1}
    assert Began(tmp_path, "gw-2").note(["s"], 3) == {}
    assert Began(tmp_path, "gw-1").note(["t"], 4) == {"t": 2}


def test_what_the_stream_or_the_plant_tells_is_forgotten(tmp_path: Path) -> None:
    began = Began(tmp_path, "gw-1")
    began.note(["heard", "new", "gone"], 1)
    began.forget(["heard", "never noted"], ["heard", "new"])
    assert began.note(["heard", "new", "gone"], 2) == {"new": 1}


def test_half_a_file_counts_as_none(tmp_path: Path) -> None:
    began = Began(tmp_path, "gw-1")
    began.note(["s"], 123)
    (tmp_path / "gw-1.began" / "s").write_text("12")
    assert began.note(["s"], 200) == {}
    assert began.note(["s"], 300) == {"s": 200}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "plant.yaml").write_text(PLANT)
    return replace(Site.from_environment({}), data=tmp_path / "data", plant=tmp_path)


def test_a_start_notes_its_sources_before_it_asks_kafka(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[dict[str, int]] = []

    def stopped(_: Site) -> None:
        noted.append(Began(site.data / "spool", "gw-1").note(["s", "t"], 0))
        site.stop.request()
        raise Unavailable("kafka does not answer")

    monkeypatch.setattr(Site, "create_topics", stopped)
    with pytest.raises(Unavailable):
        Gateway.of(site)
    assert noted[0].keys() == {"s", "t"}


def test_a_gap_begins_where_the_first_run_began_unless_the_stream_knows_better(site: Site) -> None:
    plant, read = load(site.plant), Readings(9 * S, [Reading("input:0 uint16", 7)])
    left = tails(frame(1, ("x", 7), gateway="gw-1", run=9), tick(2, "s", gateway="gw-1", run=9))
    starts = {}
    for name, found in (("nothing", tails()), ("tail", left)):
        gateway = Gateway("gw-1", 10, plant, 12, ("s",), found, since={"s": 5 * S})
        [(item, gap, _), _] = told(gateway.normalizers["s"], read)
        assert (item, isinstance(gap, dict)) == ("_gap", True)
        starts[name] = gap["from"] if isinstance(gap, dict) else None
    assert starts == {"nothing": 5 * S, "tail": 1 * S}
