"""What a flow refuses to start with, through the flow itself: exit code 2, nothing read, and one message, whole."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
)

from assets.stream import ASSET_STREAM, partition_of
from deploy.processes import Flow
from deploy.stack import Stack
from deploy.wait import until
from operators._assets import SNAPSHOT_VERSION
from tests.flows.bench import Bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ASSETS = ["press-01", "press-02"]
HOME = partition_of(ASSETS[0], 12)
CURE = "delete the store (costs a replay, no data)"
BACK = f"{CURE} or go back to the program that made it"
LOST = "its state would be lost silently"
CHANGED = f"{Path(__file__).with_name('changed.py')}"


@pytest.fixture(scope="module")
def bench(servers: Stack, data: Path) -> Bench:
    """A stream, and what derive has made of it before it was stopped."""
    made = Bench(servers, data, ASSETS)
    made.define()
    made.write(6)
    run(made, made.flow("derive", recovery=True), made_by_derive(made))
    return made


def run(bench: Bench, flow: Flow, store: Path) -> None:
    """Let a derive claim its store and finish what there is."""
    flow.start()
    claimed = store / "manifest.json"
    until(lambda: flow.poll() is not None or (claimed.exists() and bench.finished("derive")), 60, "derive to finish")
    assert flow.running, flow.crash_report()
    assert flow.stop(20) == 0, flow.last_lines()


def refused(
    bench: Bench, folder: Path, target: str = "flows.derive", store: Path | None = None, **environment: str
) -> str:
    """What a flow says that ends with 2 at once."""
    log = folder / "refused.log"
    log.unlink(missing_ok=True)
    flow = Flow("derive", {**bench.environment, **environment}, log, store or made_by_derive(bench), target)
    assert flow.start().wait(60) == 2, flow.crash_report()
    return log.read_text().removesuffix("\n")


def made_by_derive(bench: Bench) -> Path:
    """The recovery store."""
    return bench.data / "recovery" / "derive"


def store_refusal(store: Path, text: str) -> str:
    """How a refusal of a store reads."""
    return f'could not use recovery store "{store}": {text}'


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("renamed", f'"derive.rules.assets" is gone, "derive.state.assets" is new; {LOST}; {BACK}'),
        ("wrapped", f'"derive.rules.assets" is gone, "derive.more.rules.assets" is new; {LOST}; {BACK}'),
    ],
)
def test_a_renamed_or_wrapped_step(bench: Bench, tmp_path: Path, program: str, text: str) -> None:
    said = refused(bench, tmp_path, f"{CHANGED}:{program}")
    assert said == store_refusal(made_by_derive(bench), f"it was made by other steps: {text}")


def test_state_of_another_version_in_both_directions(bench: Bench, tmp_path: Path) -> None:
    said = refused(bench, tmp_path, f"{CHANGED}:newer")
    version = f"left state of version {SNAPSHOT_VERSION}, this program has version 99; {BACK}"
    assert said == store_refusal(made_by_derive(bench), f'step "derive.rules.assets" {version}')
    store = tmp_path / "newer"
    run(bench, Flow("derive", bench.environment, tmp_path / "newer.log", store, f"{CHANGED}:newer"), store)
    said = refused(bench, tmp_path, store=store)
    version = f"left state of version 99, this program has version {SNAPSHOT_VERSION}; {BACK}"
    assert said == store_refusal(store, f'step "derive.rules.assets" {version}')


def test_the_store_of_another_flow_or_copy(bench: Bench, tmp_path: Path) -> None:
    cure = "give each flow and each copy i/N a store of its own"
    said = refused(bench, tmp_path, PENSTOCK_COPY="1/3")
    assert said == store_refusal(made_by_derive(bench), f"it belongs to copy 0/1, this is copy 1/3; {cure}")
    said = refused(bench, tmp_path, "flows.archive")
    assert said == store_refusal(made_by_derive(bench), f'it belongs to flow "derive", this is flow "archive"; {cure}')


def test_another_cluster_at_the_address(bench: Bench, tmp_path: Path, kafka: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    before = admin.list_topics(timeout=60)
    said = refused(bench, tmp_path, KAFKA_BOOTSTRAP=kafka)
    made = json.loads((made_by_derive(bench) / "manifest.json").read_text())["cluster"]
    here = before.cluster_id
    assert made != here
    assert set(admin.list_topics(timeout=60).topics) == set(before.topics)  # nothing was made there
    assert said == store_refusal(
        made_by_derive(bench),
        f'it was made on Kafka cluster "{made}", this is "{here}"; check KAFKA_BOOTSTRAP, or {CURE} if the cluster '
        "was made anew",
    )


@pytest.mark.parametrize(
    ("name", "value", "why", "wanted"),
    [
        ("cleanup.policy", "compact", "compaction removes records", "delete"),
        ("retention.ms", "604800000", "records are removed by age", "-1"),
        ("retention.bytes", "1000000000", "records are removed by size", "-1"),
        (
            "message.timestamp.type",
            "CreateTime",
            "an instant of the stream would be a gateway's clock",
            "LogAppendTime",
        ),
    ],
)
def test_a_topic_that_loses_records_or_tells_other_clocks(
    bench: Bench, tmp_path: Path, name: str, value: str, why: str, wanted: str
) -> None:
    alter(bench, {name: value})
    try:
        said = refused(bench, tmp_path)
    finally:
        alter(bench, {name: wanted})
    assert said == (
        f'could not use topic "asset-stream" at kafka at {bench.kafka.bootstrap} as the stream: {name} is {value}: '
        f"{why}; set it: kafka-configs.sh --alter --entity-type topics --entity-name asset-stream --add-config "
        f"{name}={wanted}"
    )


def alter(bench: Bench, settings: Mapping[str, str]) -> None:
    """Change settings of the stream's topic, and wait until Kafka tells them."""
    admin = AdminClient({"bootstrap.servers": bench.kafka.bootstrap})
    entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in settings.items()]
    wish = ConfigResource(ConfigResource.Type.TOPIC, ASSET_STREAM, incremental_configs=entries)
    admin.incremental_alter_configs([wish])[wish].result()
    asked = ConfigResource(ConfigResource.Type.TOPIC, ASSET_STREAM)

    def told() -> bool:
        found = admin.describe_configs([asked])[asked].result()
        return all(found[name].value == value for name, value in settings.items())

    until(told, 60, "the settings")


def test_offsets_that_were_removed_under_a_stopped_flow(bench: Bench, tmp_path: Path) -> None:
    at = bench.ends(ASSET_STREAM)[HOME]
    bench.write(3)
    end = bench.ends(ASSET_STREAM)[HOME]
    admin = AdminClient({"bootstrap.servers": bench.kafka.bootstrap})
    for done in admin.delete_records([TopicPartition(ASSET_STREAM, HOME, end)]).values():
        done.result()
    before = bench.events()
    flow = Flow("derive", bench.environment, tmp_path / "derive.log", made_by_derive(bench)).start()
    assert flow.wait(60) == 1  # only the engine knows where a flow stands, so the refusal comes through it
    assert (
        f'could not read topic "asset-stream" partition {HOME} from offset {at}: the oldest record there is {end}: '
        f"retention or a deletion has removed {end - at} records; to begin at the oldest record delete the recovery "
        "store of the flow, and check the topic's retention"
    ) in (tmp_path / "derive.log").read_text()
    assert bench.events() == before


def test_another_number_of_partitions(bench: Bench, tmp_path: Path) -> None:
    admin = AdminClient({"bootstrap.servers": bench.kafka.bootstrap})
    admin.create_partitions([NewPartitions(ASSET_STREAM, 13)])[ASSET_STREAM].result()
    until(lambda: len(bench.ends(ASSET_STREAM)) == 13, 60, "thirteen partitions")
    said = refused(bench, tmp_path)
    assert said == store_refusal(
        made_by_derive(bench),
        'topic "asset-stream" had 12 partitions and has 13, so assets lie elsewhere in it; bring "asset-stream" back '
        "with 12 partitions, or begin with an empty topic and empty stores",
    )
