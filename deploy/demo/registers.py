"""Where the Modbus devices keep their values: the register maps and how a value becomes registers.

The maps repeat what the plant folder says, on purpose: reading and writing are two opinions that a test compares.
"""

import struct
from typing import NamedTuple

from deploy.demo.machines import Value
from deploy.demo.modbus_server import Unit

FORMATS = {"uint16": "H", "int16": "h", "uint32": "I", "uint64": "Q", "float32": "f"}


class Register(NamedTuple):
    """One value of a device: served as `raw = value / scale`, at a 0-based address."""

    table: str
    address: int
    type: str
    order: str = "abcd"
    scale: float = 1.0


METER = {
    "power": Register("input", 100, "float32", "cdab"),
    "energy": Register("input", 102, "uint64"),
}
FURNACE_METER = {**METER, "door_open": Register("discrete", 0, "bool")}
CONVEYOR = {
    "state": Register("holding", 0, "uint16"),
    "parts": Register("holding", 1, "uint16"),
    "speed": Register("input", 0, "float32", "dcba"),
    "motor_temperature": Register("input", 2, "int16", scale=0.1),
    "power": Register("input", 3, "float32", "badc"),
    "energy": Register("input", 5, "uint32", "cdab"),
    "drive_on": Register("coil", 0, "bool"),
    "jam": Register("discrete", 0, "bool"),
}
SIZES = {"coil": 16, "discrete": 16, "holding": 64, "input": 128}


def write(unit: Unit, register: Register, value: Value) -> None:
    """Put a value into a unit's process image."""
    cells = encode(register, value)
    unit.tables[register.table][register.address : register.address + len(cells)] = cells


def encode(register: Register, value: Value) -> list[int]:
    """The bits or registers of a value.

    >>> [f"{cell:04X}" for cell in encode(Register("input", 0, "float32", "cdab"), 123.456)]
    ['E979', '42F6']
    """
    if register.type == "bool":
        return [int(bool(value))]
    number = float(value) / register.scale
    plain = struct.pack(">" + FORMATS[register.type], number if register.type == "float32" else round(number))
    words = [plain[n : n + 2] for n in range(0, len(plain), 2)]
    if register.order in ("badc", "dcba"):
        words = [word[::-1] for word in words]
    if register.order in ("cdab", "dcba"):
        words.reverse()
    return [int.from_bytes(word, "big") for word in words]
