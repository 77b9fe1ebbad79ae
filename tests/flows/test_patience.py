"""A start whose Kafka comes back haltingly: devices are read on, and are left in good order without a flow."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assets.condition import Refused, Unavailable
from assets.plant import load
from flows import _patience, ingest
from flows._gateway import Gateway
from flows._patience import patiently
from flows._site import Site
from operators._tails import Tails
from sources._backlog import Backlog
from sources._intake import Devices
from sources._partition import Stop
from tests.flows.test_gateway import PLANT
from tests.sources.test_devices import Device


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "plant.yaml").write_text(PLANT)
    return replace(Site.from_environment({}), data=tmp_path / "data", plant=tmp_path)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_patience, "RETRY_S", 0.01)


def hesitating(stop: Stop, times: int) -> Callable[..., int]:
    """Kafka that does not answer, and then a stop that is asked for."""
    left = iter(range(times))

    def ask(*_: object) -> int:
        if next(left, None) is None:
            stop.request()
        raise Unavailable("kafka does not answer")

    return ask


def test_a_question_is_asked_until_there_is_an_answer() -> None:
    answers = iter([Unavailable("no"), Unavailable("no"), 7])

    def ask() -> int:
        if isinstance(answer := next(answers), Unavailable):
            raise answer
        assert isinstance(answer, int)
        return answer

    assert patiently(Stop(), ask) == 7


def test_what_devices_said_is_kept_until_kafka_answers_or_a_stop_is_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Site, "create_topics", lambda _: None)
    monkeypatch.setattr(Site, "partitions", hesitating(site.stop, 3))
    with pytest.raises(Unavailable):
        Gateway.of(site)
    assert site.stop.requested, "it gave up without being asked to"


def test_a_flow_that_cannot_be_built_leaves_its_devices(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(lambda *_: reading.set())
    reading = threading.Event()
    devices = Devices({device.name: device}, site.stop)
    devices.begin(Backlog(tmp_path, 1 << 20))
    assert reading.wait(60)

    def refuse(*_: object) -> object:
        raise Refused("another process uses the store")

    gateway = Gateway("gw-1", 1, load(site.plant), 1, (), Tails("gw-1"))
    monkeypatch.setattr(ingest, "start", lambda _: site)
    monkeypatch.setattr(Gateway, "of", lambda _: (gateway, devices, None))
    monkeypatch.setattr(ingest, "letters_sink", refuse)
    with pytest.raises(SystemExit):
        ingest.flow()
    assert device.left.wait(60)
