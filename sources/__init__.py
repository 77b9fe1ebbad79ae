"""Doors in: one public file per protocol, each with its `Config` and its `Source`; `_intake.py` drives them all.

A file here knows one vendor client and no business meaning. Adding a protocol is one file and one test.
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from assets.plugins import discover
from assets.source import SourceConfig

if TYPE_CHECKING:
    from sources._devices import Source


def protocols() -> dict[str, type[SourceConfig]]:
    """The protocols of devices and their options: every public file of this folder that has a `Config`."""
    return discover(__name__, "Config")


def connect(name: str, config: SourceConfig, addresses: Sequence[str]) -> "Source":
    """The source called `name`, ready to be run by `Devices`; it reads these addresses."""
    source: Source = importlib.import_module(f"{__name__}.{config.protocol}").Source(name, config, addresses)
    return source
