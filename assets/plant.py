"""The plant: a folder of YAML files that says which assets there are, what they tell and how they are reached.

`load` checks everything before anything starts and reports all problems at once, each with file, line and path.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from assets._assets import Assets
from assets._expand import Entry, Expander
from assets._folder import Folder
from assets._problems import suggestion
from assets._rules import RuleBook
from assets._types import Types
from assets._wording import check
from assets.definition import Definition, Item
from assets.errors import ConfigError, PlantError
from assets.plugins import discover
from assets.source import SourceConfig

__all__ = ["Asset", "Binding", "ConfigError", "Plant", "PlantError", "load"]


@dataclass(frozen=True)
class Asset:
    """A thing of value that is watched; `model` is the hash by which frames name its definition."""

    id: str
    definition: Definition
    model: str


class Binding(NamedTuple):
    """An item of an asset that is read at some address."""

    asset: str
    name: str
    item: Item


@dataclass(frozen=True)
class Plant:
    """All sources and assets of a folder, checked and resolved."""

    folder: Path
    sources: dict[str, SourceConfig]
    assets: dict[str, Asset] = field(repr=False)

    def bindings(self, source: str) -> dict[str, list[Binding]]:
        """What is read from a source: address -> the items that want it."""
        return self._by_source.get(source, {})

    def addresses(self, source: str) -> list[str]:
        """The addresses that are read from a source, in the order of the folder."""
        return list(self.bindings(source))

    @cached_property
    def _by_source(self) -> dict[str, dict[str, list[Binding]]]:
        found: dict[str, dict[str, list[Binding]]] = {}
        for asset in self.assets.values():
            for name, item in asset.definition.items.items():
                of_source = found.setdefault(item.source, {})
                of_source.setdefault(item.address, []).append(Binding(asset.id, name, item))
        return found


def load(
    folder: Path | str,
    environment: Mapping[str, str] = os.environ,
    *,
    protocols: Mapping[str, type[SourceConfig]] | None = None,
    rules: Mapping[str, type[Any]] | None = None,
) -> Plant:
    """Read a plant folder; raises `PlantError` with everything that is wrong in it.

    `protocols` and `rules` are those of the folders sources/ and operators/ unless given.
    """
    written = Folder(Path(folder))
    expander = Expander(written, environment)
    sources = _sources(written, expander, discover("sources", "Config") if protocols is None else protocols)
    book = RuleBook(written, discover("operators", "Spec") if rules is None else rules)
    types = Types(written, expander, book)
    assets = _assets(expander, Assets(written, expander, book, types, sources))
    written.problems.raise_if_any()
    return Plant(Path(folder), {name: config for name, config in sources.items() if config}, assets)


def _assets(expander: Expander, definitions: Assets) -> dict[str, Asset]:
    found: dict[str, Asset] = {}
    for entries in expander.entries("assets"):
        for entry in entries:
            definition = definitions.definition(entry)
            if definition is None:
                break  # the rest of a range would only say the same again
            found[entry.name] = Asset(entry.name, definition, definition.model)
    return found


def _sources(
    folder: Folder, expander: Expander, protocols: Mapping[str, type[SourceConfig]]
) -> dict[str, SourceConfig | None]:
    found: dict[str, SourceConfig | None] = {}
    for entries in expander.entries("sources"):
        configs = dict.fromkeys((entry.name for entry in entries), None)
        found.update(configs)
        for entry in entries:
            config = _source(folder, entry, protocols)
            if config is None:
                break
            found[entry.name] = config
    return found


def _source(folder: Folder, entry: Entry, protocols: Mapping[str, type[SourceConfig]]) -> SourceConfig | None:
    if not isinstance(entry.options, dict):
        folder.problems.add(entry.path, "expected options, each with its value")
        return None
    options = entry.options
    protocol = options.get("protocol")
    path = (*entry.path, "protocol")
    if isinstance(protocol, str) and protocol in protocols:
        return check(protocols[protocol], options, (entry.path,), folder)
    if protocol is None:
        folder.problems.add(path, f"is required; known protocols are {', '.join(sorted(protocols))}")
    elif isinstance(protocol, str) and "${" not in protocol:
        folder.problems.add(path, f'is "{protocol}"{suggestion(protocol, protocols, "protocols")}')
    return None
