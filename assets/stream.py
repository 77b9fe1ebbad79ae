"""The public names of the stream: topics, keys, partitions, subjects.

A record's partition follows from its key by the Java client's default partitioner (murmur2), so every client of
every language agrees on where an asset lives.
"""

from functools import lru_cache
from typing import Final

ASSET_STREAM: Final = "asset-stream"
DEAD_LETTERS: Final = "dead-letters"
VIEWS: Final = "views"

AVAILABILITY: Final = "_availability"
GAP: Final = "_gap"
MODEL: Final = "_model"
REMOVED: Final = "_removed"

AVAILABLE: Final = "AVAILABLE"
UNAVAILABLE: Final = "UNAVAILABLE"
GONE: Final = "REMOVED"
"""What the availability of an asset becomes when it is gone from the plant."""


def state_topic(generation: int) -> str:
    """The topic of the derived events of one generation."""
    return f"asset-state.g{generation}"


def murmur2(key: bytes) -> int:
    """The 32-bit hash of the Java client's default partitioner (org.apache.kafka.common.utils.Utils.murmur2)."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    rest = key[whole:]
    if rest:
        h = ((h ^ int.from_bytes(rest, "little")) * m) & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


@lru_cache(maxsize=1 << 20)
def partition_of(asset: str, partitions: int) -> int:
    """The partition of `asset-stream` that holds an asset."""
    return (murmur2(asset.encode()) & 0x7FFFFFFF) % partitions


def observation_subject(path: str, asset: str, item: str) -> str:
    """The NATS subject of an item's observations; `path` is enterprise/site/area/work_center."""
    return f"assets.{path.replace('/', '.')}.{asset}.{item}"


def state_subject(path: str, asset: str, metric: str) -> str:
    """The NATS subject of a derived metric; `path` is enterprise/site/area/work_center."""
    return f"state.{path.replace('/', '.')}.{asset}.{metric}"


def own_partitions(partitions: int, copy: str = "0/1") -> list[int]:
    """The partitions that copy `i/N` of a flow owns: those with p % N == i."""
    i, n = map(int, copy.split("/"))
    return [p for p in range(partitions) if p % n == i]
