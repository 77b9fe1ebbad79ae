"""What the plant folder may say of a Modbus unit."""

import re
from typing import Final, Literal

from pydantic import Field, field_validator

from assets.duration import DurationUs
from assets.source import SourceConfig
from sources._modbus_address import Hole, parse_address, parse_hole

DEFAULT_PORT: Final = 502
_ENDPOINT: Final = re.compile(r"tcp://(?P<host>\[[^\]]+\]|[^:/@\s]+)(?::(?P<port>\d{1,5}))?/?")


class Config(SourceConfig):
    """One unit of a Modbus TCP device or gateway."""

    protocol: Literal["modbus"] = "modbus"
    """The protocol: the name of a file in sources/."""
    endpoint: str
    """Where the device listens: `tcp://HOST:PORT` (default port 502)."""
    unit: int = Field(1, ge=0, le=255)
    """Unit identifier behind this address; a device without a gateway usually wants 1, 0 or 255."""
    poll: DurationUs = Field(1_000_000, gt=0)
    """How often all addresses are read."""
    timeout: DurationUs = Field(500_000, gt=0)
    """How long an answer may take."""
    retries: int = Field(1, ge=0, le=10)
    """How often an unanswered request is repeated before the cycle counts as failed."""
    max_registers: int = Field(125, ge=4, le=125)
    """The most registers one request may ask for."""
    max_bits: int = Field(2000, ge=1, le=2000)
    """The most coils or discrete inputs one request may ask for."""
    fill_gap: int = Field(12, ge=0, le=124)
    """How many unused addresses a request may span to save another request."""
    holes: tuple[str, ...] = ()
    """Addresses that must never be asked for, such as `holding:40-49`."""
    demote_after: int = Field(3, ge=1)
    """After how many failed cycles in a row the unit counts as lost and is only probed."""
    probe_min: DurationUs = Field(5_000_000, gt=0)
    """The first wait between probes of a lost unit; it doubles up to `probe_max`."""
    probe_max: DurationUs = Field(60_000_000, gt=0)
    """The longest wait between probes of a lost unit."""

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str) -> str:
        host_and_port(endpoint)
        return endpoint

    @field_validator("holes")
    @classmethod
    def _check_holes(cls, holes: tuple[str, ...]) -> tuple[str, ...]:
        for hole in holes:
            parse_hole(hole)
        return holes

    @property
    def parsed_holes(self) -> tuple[Hole, ...]:
        """`holes`, understood."""
        return tuple(map(parse_hole, self.holes))

    @property
    def cycle_us(self) -> int:
        return self.poll

    @classmethod
    def check_address(cls, address: str) -> None:
        parse_address(address)


def host_and_port(endpoint: str) -> tuple[str, int]:
    """The host and port of an endpoint; refuses what is none.

    >>> host_and_port("tcp://10.0.0.7")
    ('10.0.0.7', 502)
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if not match or not 0 < int(match["port"] or DEFAULT_PORT) < 1 << 16:
        raise ValueError(f'expected tcp://HOST:PORT, such as tcp://10.0.0.7:502; it is "{endpoint}"')
    return match["host"].strip("[]"), int(match["port"] or DEFAULT_PORT)
