"""The plant folder: cases as folders, each with what must come out of it, word for word."""

import shutil
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from assets.__main__ import main, summary
from assets.definition import Counter, Definition, Item
from assets.duration import DurationUs
from assets.errors import ConfigError, PlantError
from assets.plant import Binding, Plant, load
from assets.source import SourceConfig

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parents[1] / "cases" / "plant"
SECRET = "hunter2"
ENVIRONMENT = {"PLANT_PASSWORD": SECRET}


class Opcua(SourceConfig):
    protocol: Literal["opcua"] = "opcua"
    publishing_interval: DurationUs = 1_000_000
    password: SecretStr | None = None

    @property
    def cycle_us(self) -> int:
        return self.publishing_interval

    @classmethod
    def check_address(cls, address: str) -> None:
        if "s=" not in address:
            raise ValueError(f'expected a node id such as s=NAME; it is "{address}"')


class Modbus(SourceConfig):
    protocol: Literal["modbus"] = "modbus"
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    password: SecretStr | None = None

    @property
    def cycle_us(self) -> int:
        return 1_000_000

    @classmethod
    def check_address(cls, address: str) -> None:
        if not address.startswith(("input:", "holding:")):
            raise ValueError(f'expected input:ADDRESS or holding:ADDRESS; it is "{address}"')


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    item: str


class Durations(_Rule):
    pass


class Alarm(_Rule):
    above: float
    clear_below: float | None = None
    on_delay: DurationUs = 0

    @classmethod
    def check_item(cls, item: Item) -> None:
        if item.category != "SAMPLE":
            raise ValueError(f"an alarm needs a SAMPLE; it is an {item.category}")


def read(folder: Path | str) -> Plant:
    return load(
        folder,
        ENVIRONMENT,
        protocols={"opcua": Opcua, "modbus": Modbus},
        rules={"alarm": Alarm, "durations": Durations},
    )


def write(folder: Path, text: str) -> Path:
    (folder / "site.yaml").write_text(text)
    return folder


def problems(folder: Path) -> list[str]:
    with pytest.raises(PlantError) as raised:
        read(folder)
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


@pytest.mark.parametrize("case", sorted(case.name for case in CASES.iterdir()))
def test_every_case_says_what_its_folder_expects(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    try:
        name, said = "summary.txt", summary(read(case))
    except PlantError as error:
        name, said = "error.txt", str(error)
    assert said + "\n" == (CASES / case / name).read_text()


@pytest.mark.parametrize("case", sorted(case.name for case in CASES.iterdir()))
def test_no_problem_tells_a_secret(case: str) -> None:
    try:
        said = repr(read(CASES / case))
    except PlantError as error:
        said = str(error)
    assert SECRET not in said


def test_ten_mistakes_are_ten_problems() -> None:
    assert len(problems(CASES / "ten-mistakes")) == 10


def test_the_problems_are_a_configuration_error() -> None:
    with pytest.raises(ConfigError):
        read(CASES / "ten-mistakes")


def test_the_fields_of_an_item_come_out_resolved() -> None:
    plant = read(CASES / "complete")
    oven, press = plant.assets["oven"].definition, plant.assets["press-02"].definition
    assert oven.items["temperature"] == Item(
        source="forming",
        address="ns=2;s=oven.temperature",
        unit="Cel",
        range=(-20, 900),
        deadband=0.2,
        stale_after=30_000_000,
    )
    assert press.items["parts"].counter == Counter(rollover=65536)
    assert press.items["power"] == Item(source="meter-02", address="input:100", unit="kW")
    assert press.sources["forming"].ttl == 10_000_000
    assert sorted(press.sources) == ["forming", "meter-02"]


def test_the_rules_come_out_as_the_stream_carries_them() -> None:
    plant = read(CASES / "complete")
    assert plant.assets["press-01"].definition.derive == {
        "availability": {"rule": "availability"},
        "running": {"rule": "durations", "item": "state"},
        "overheat": {"rule": "alarm", "item": "temperature", "above": 90, "clear_below": 80, "on_delay": 5_000_000},
    }
    assert sorted(plant.assets["oven"].definition.derive) == ["availability", "overheat"]


def test_a_definition_survives_the_stream_with_its_hash() -> None:
    for asset in read(CASES / "complete").assets.values():
        again = Definition.from_value(asset.definition.value())
        assert (again, again.model) == (asset.definition, asset.model)


def test_a_range_keeps_the_width_of_its_numbers() -> None:
    plant = read(CASES / "complete")
    assert list(plant.sources) == ["forming", "meter-01", "meter-02", "meter-03", "meter-04"]
    assert plant.sources["meter-03"].endpoint == "tcp://10.0.1.03:502"


def test_bindings_lead_from_an_address_to_all_items_that_want_it(tmp_path: Path) -> None:
    text = (CASES / "complete" / "site.yaml").read_text() + (
        "types: {m: {items: {a: {}}}}\n"
        "assets:\n"
        "  m-{1..2}: {type: m, path: a/b/c/d, source: meter-01, address: 'input:7'}\n"
    )
    plant = read(write(tmp_path, text))
    item = Item(source="meter-01", address="input:7")
    assert plant.bindings("meter-01") == {"input:7": [Binding("m-1", "a", item), Binding("m-2", "a", item)]}
    assert plant.addresses("meter-01") == ["input:7"]
    assert plant.addresses("meter-02") == []


def test_a_variable_or_its_default_stands_in_any_value(tmp_path: Path) -> None:
    text = (
        "sources:\n  f: {protocol: modbus, endpoint: '${env:E:-tcp://a:1}', unit: '${env:U}', password: '${env:P:-}'}"
    )
    write(tmp_path, text)
    plant = load(tmp_path, {"U": "7", "P": SECRET}, protocols={"modbus": Modbus}, rules={})
    source = plant.sources["f"]
    assert isinstance(source, Modbus)
    assert source.password is not None
    assert (source.endpoint, source.unit, source.password.get_secret_value()) == ("tcp://a:1", 7, SECRET)


def test_a_metric_of_that_name_replaces_the_rule_of_availability(tmp_path: Path) -> None:
    text = (CASES / "complete" / "site.yaml").read_text() + (
        "types: {m: {items: {a: {}}, derive: {availability: {durations: a}}}}\n"
        "assets: {m: {type: m, path: a/b/c/d, source: forming, address: 's={item}'}}\n"
    )
    assert read(write(tmp_path, text)).assets["m"].definition.derive == {
        "availability": {"rule": "durations", "item": "a"}
    }


def test_a_moved_line_changes_no_hash(tmp_path: Path) -> None:
    for file in ("site", "presses", "ovens"):
        shutil.copy(CASES / "complete" / f"{file}.yaml", tmp_path / f"z-{file[::-1]}.yaml")
    before, after = read(CASES / "complete"), read(tmp_path)
    assert {a.id: a.model for a in before.assets.values()} == {a.id: a.model for a in after.assets.values()}


def test_words_that_yaml_1_1_takes_for_values_stay_words(tmp_path: Path) -> None:
    text = (CASES / "complete" / "site.yaml").read_text() + (
        "types: {m: {items: {a: {category: EVENT, enum: {0: Off, 1: On, 12:30: no}}}}}\n"
        "assets: {m: {type: m, path: a/b/c/d, source: forming, address: 's={item}'}}\n"
    )
    enum = read(write(tmp_path, text)).assets["m"].definition.items["a"].enum
    assert enum == {"0": "Off", "1": "On", "12:30": "no"}


def test_a_folder_without_files_is_one_problem(tmp_path: Path) -> None:
    assert problems(tmp_path) == [f"{tmp_path} has no .yaml file"]
    assert problems(tmp_path / "none") == [f"{tmp_path / 'none'} is not a folder"]


def test_a_file_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"sources: \xff\xfe\n")
    assert problems(tmp_path) == ["a.yaml is not YAML: it is not text in UTF-8"]


@pytest.mark.parametrize(
    "line",
    [
        "passwrod: hunter2",
        "password: [hunter2]",
        "password: {a: hunter2}",
        "publishing_interval: ${env:PLANT_PASSWORD}",
        "endpoint: {hunter2: hunter2}",
        "ttl: ${env:PLANT_PASSWORD}",
        "password: *hunter2",
        "password: !hunter2 x",
        "password: '${env:PLANT_PASSWORD} ${hunter}'",
        "password: {{hunter2}}",
    ],
)
def test_no_way_of_misspelling_tells_a_secret(tmp_path: Path, line: str) -> None:
    with pytest.raises(PlantError) as raised:
        read(write(tmp_path, f"sources:\n  forming:\n    protocol: opcua\n    {line}\n"))
    assert SECRET not in str(raised.value)


def test_a_secret_that_is_a_number_is_not_repeated(tmp_path: Path) -> None:
    text = "sources:\n  forming: {protocol: opcua, endpoint: e, password: 24680}\n"
    assert problems(write(tmp_path, text)) == ["site.yaml:2 sources.forming.password: expected text"]


def test_a_password_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    text = "sources:\n  forming: {protocol: opcua, endpoint: e}\nassets:\n  a:\n    type: t\n    path: //me:hunter2@x\n"
    assert not any(SECRET in line for line in problems(write(tmp_path, text)))


@pytest.mark.slow
def test_ten_thousand_assets_load_in_seconds(tmp_path: Path) -> None:
    items = "".join(f"      item{i}: {{unit: Cel, range: [0, 10]}}\n" for i in range(10))
    text = (
        "sources:\n  src-{0001..1000}: {protocol: opcua, endpoint: 'opc.tcp://10.0.0.1:{n}'}\n"
        f"types:\n  t:\n    items:\n{items}    derive: {{hot: {{alarm: item1, above: 3}}}}\n"
        "assets:\n  asset-{00001..10000}: {type: t, path: a/b/c/d, source: src-0001, address: 's={n}.{item}'}\n"
    )
    plant = read(write(tmp_path, text))
    assert (len(plant.sources), len(plant.addresses("src-0001"))) == (1000, 100_000)


def test_the_demo_plant_has_no_problems_and_prints_what_it_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, scheme in (("OPCUA_1", "opc.tcp"), ("OPCUA_2", "opc.tcp"), ("MODBUS_1", "tcp"), ("MODBUS_2", "tcp")):
        monkeypatch.setenv(f"DEMO_{name}", f"{scheme}://127.0.0.1:4840")
    monkeypatch.delenv("PENSTOCK_PLANT", raising=False)
    monkeypatch.chdir(ROOT)
    assert main(["check"]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.startswith("deploy/demo/plant has no problems\n")


def test_the_command_ends_with_1_and_all_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "assets: none\nsource: {}\n")
    assert main(["check", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"{tmp_path} has 2 problems\n"
        "  site.yaml:1 assets: expected names, each with its options below it\n"
        '  site.yaml:2 source: is unknown; did you mean "sources"?\n'
    )
