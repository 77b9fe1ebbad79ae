"""A small language for tests of normalization: readings of one source at noon, and what was made of them."""

from typing import Any

import msgspec

from assets.definition import Item
from assets.frame import Flag, Frame, Observation
from assets.plant import Binding
from assets.reading import Reading, Readings
from operators.normalize import Accounted, Normalizer, Said

S = 1_000_000
H = 3600 * S
NOON = 1_763_640_000 * S
KEY = int(Flag.KEYFRAME)


def item(**options: Any) -> Item:
    return msgspec.convert({"source": "forming", "address": "a", **options}, Item)


def single(**options: Any) -> Normalizer:
    """A source with one item `x` of the asset `press-01` at the address `a`."""
    return Normalizer("forming", {"a": [Binding("press-01", "x", item(**options))]}, max_skew_us=5 * S)


def frames(said: list[Said]) -> list[Frame]:
    return [thing for thing in said if isinstance(thing, Frame)]


def accounts(said: list[Said]) -> list[Accounted]:
    return [thing for thing in said if isinstance(thing, Accounted)]


def observations(said: list[Said]) -> list[Observation]:
    """What the device said: without what the gateway says of itself."""
    return [o for frame in frames(said) for o in frame.observations if not o.item.startswith("_") and not o.flags & KEY]


def frame(asset: str, received: int, *told: Observation) -> Frame:
    return Frame(1, asset, "forming", "", 0, 0, received, "", list(told))


def readings(received: int, *told: Reading, clock: int | None = None) -> Readings:
    return Readings(received, list(told), clock)


def two_assets() -> Normalizer:
    bindings = {
        "1": [Binding("press-01", "temperature", item())],
        "2": [Binding("press-01", "force", item())],
        "3": [Binding("press-02", "temperature", item())],
    }
    return Normalizer("forming", bindings, key_frame_us=H)
