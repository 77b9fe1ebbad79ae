"""Ingest that starts with renamed items and another unit knows what its devices deliver again, and what it must not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.connection import KafkaConnection
from assets.frame import Flag
from deploy.ports import free_port
from deploy.stack import External, Stack
from deploy.wait import until
from sinks.kafka import ensure_topics, stream_topics
from tests.flows.field import PRESSES, Field
from tests.flows.test_ingest import PATIENCE_S, Plant, Seen, counted

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

AGAIN = int(Flag.INITIAL | Flag.REDELIVERED)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    stack = Stack(tmp_path / "broker", External(nats_url="none"), preferred_ports={"kafka": free_port()})
    with stack, Field() as field:
        ensure_topics(KafkaConnection(bootstrap=stack.kafka_bootstrap), stream_topics(1))
        yield Plant(stack, field, tmp_path, "gw-1")


def edit(plant: Plant) -> None:
    """`parts` becomes `made`, read where it was; `note` gets another meaning."""
    file = Path(plant.environment["PENSTOCK_PLANT"]) / "plant.yaml"
    text = file.read_text().replace("parts: {category: SAMPLE}", "made: {category: SAMPLE, was: parts}")
    text = text.replace("note: {category: EVENT}", "note: {category: CONDITION}")
    for press in PRESSES:
        there = f"s=Press{press[-2:]}."
        address = text[: text.index(there)].rpartition('"')[2] + there
        text = text.replace(f'{there}{{item}}"', f'{there}{{item}}", items: {{made: {{address: "{address}parts"}}}}')
    file.write_text(text)


def told(plant: Plant, run: int) -> dict[tuple[str, str], Seen]:
    """The first observation of each item in a run, without key frames."""
    found: dict[tuple[str, str], Seen] = {}
    for seen in plant.seen():
        if seen.frame.run == run and seen.observation.item[0] != "_" and not seen.observation.flags & Flag.KEYFRAME:
            found.setdefault((seen.frame.asset, seen.observation.item), seen)
    return found


def test_what_devices_deliver_again_is_known_under_its_new_name(plant: Plant) -> None:
    flow = plant.start()
    plant.reading(flow)
    last = {(written.asset, written.item): written for written in plant.field.rest()}
    for written in last.values():
        if written.asset in PRESSES:
            plant.told(flow, written)
    assert flow.stop(PATIENCE_S) == 0, flow.last_lines()
    edit(plant)
    before = max(record.run for _, _, record in plant.records())
    flow = plant.start()
    wanted = {(press, item) for press in PRESSES for item in ("made", "note")}

    def stands() -> bool:
        assert flow.running, flow.crash_report()
        return wanted <= told(plant, max(record.run for _, _, record in plant.records())).keys()

    until(stands, PATIENCE_S, "all values again", every_s=0.3)
    assert flow.stop(PATIENCE_S) == 0, flow.last_lines()
    run = max(record.run for _, _, record in plant.records())
    assert run > before
    for (press, item), seen in told(plant, run).items():
        if item in {"made", "note"}:
            assert seen.observation.flags & AGAIN == AGAIN, (press, seen.observation)
        if item == "made":
            assert counted(seen) == counted(last[press, "parts"])
    repeated = [s for s in plant.seen() if s.frame.run == run and s.observation.flags & Flag.KEYFRAME]
    assert not [s for s in repeated if s.observation.item == "parts"]
    defined = [s.observation.value for s in plant.seen() if s.frame.run == run and s.observation.item == "_model"]
    assert sum('"was"' in str(value).replace("'", '"') for value in defined) >= len(PRESSES)
