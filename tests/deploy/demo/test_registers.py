import pytest
import yaml

from deploy.demo import site
from deploy.demo.modbus_server import Unit
from deploy.demo.registers import CONVEYOR, FURNACE_METER, METER, SIZES, Register, encode, write


@pytest.mark.parametrize(
    ("order", "words"),
    [("abcd", "42F6 E979"), ("cdab", "E979 42F6"), ("badc", "F642 79E9"), ("dcba", "79E9 F642")],
)
def test_a_float_is_laid_out_in_all_four_orders(order: str, words: str) -> None:
    cells = encode(Register("input", 0, "float32", order), 123.456)
    assert " ".join(f"{cell:04X}" for cell in cells) == words


def test_scaled_and_negative_numbers_and_bits() -> None:
    assert encode(Register("input", 0, "int16", scale=0.1), -12.3) == [0xFFFF - 122]
    assert encode(Register("coil", 0, "bool"), True) == [1]
    assert encode(Register("input", 0, "uint64"), 2**48 + 3) == [1, 0, 0, 3]


def test_a_value_stands_at_its_address() -> None:
    unit = Unit(SIZES)
    write(unit, METER["energy"], 5)
    assert unit.tables["input"][101:107] == [0, 0, 0, 0, 5, 0]


@pytest.mark.parametrize(
    ("file", "where", "asset", "registers"),
    [
        ("presses.yaml", "assets", "press-{01..04}", METER),
        ("furnaces.yaml", "assets", "furnace-{01..04}", FURNACE_METER),
        ("conveyors.yaml", "types", "conveyor", CONVEYOR),
    ],
)
def test_the_plant_folder_reads_where_the_devices_write(
    file: str, where: str, asset: str, registers: dict[str, Register]
) -> None:
    items = yaml.safe_load((site.PLANT / file).read_text(encoding="utf-8"))[where][asset]["items"]
    scales = yaml.safe_load((site.PLANT / "machine.yaml").read_text(encoding="utf-8"))["types"]["machine"]["items"]
    for name, register in registers.items():
        table, _, rest = items[name]["address"].partition(":")
        address, type_, *order = rest.split()
        assert (table, int(address), type_, *order) == register[: 3 + len(order)]
        assert order or register.order == "abcd"
        raw_scale = register.scale if name != "energy" else 0.001  # kW.h told as whole W.h
        assert {**scales.get(name, {}), **items[name]}.get("scale", 1.0) == raw_scale
