"""What every source of a plant can be told; each protocol adds its own options in `sources/PROTOCOL.py`."""

from typing import Final

from pydantic import BaseModel, ConfigDict

from assets.duration import DurationUs

MIN_TTL_US: Final = 10_000_000


class SourceConfig(BaseModel):
    """Options common to all protocols; a protocol's `Config` inherits them and sets `protocol` to a Literal."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    protocol: str
    """The protocol: the name of a file in sources/."""
    endpoint: str
    """Where the device or server listens, as a URL of the protocol."""
    max_skew: DurationUs = 5_000_000
    """How far the source's clock may be from the gateway's before its times are not believed."""
    ttl: DurationUs | None = None
    """How long the link may stay without proof before the assets count as lost; default: 3 cycles, at least 10 s."""

    @property
    def cycle_us(self) -> int:
        """How often the link is proved in normal operation (us)."""
        raise NotImplementedError

    @property
    def ttl_us(self) -> int:
        """`ttl`, or its default."""
        return self.ttl if self.ttl is not None else max(3 * self.cycle_us, MIN_TTL_US)

    @classmethod
    def check_address(cls, address: str) -> None:
        """Raise ValueError, with the allowed form in its message, for an address this protocol cannot read."""
        raise NotImplementedError
