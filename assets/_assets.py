"""Assets of the folder, each with its definition: all it can tell, where it is read and what is derived from it."""

from collections.abc import Mapping
from typing import Any

from assets._expand import Entry, Expander, fill_template
from assets._folder import Folder
from assets._problems import Path, suggestion
from assets._rules import AVAILABILITY, Rule, RuleBook
from assets._schema import AssetOptions, ItemOptions
from assets._types import AssetType, Broken, Fields, Types, check_rules, merge_items
from assets._wording import check, rest
from assets.definition import Counter, Definition, Item, SourceModel
from assets.names import check_path
from assets.source import SourceConfig

Sources = Mapping[str, SourceConfig | None]
"""All sources by name; None: with a problem."""


class Assets:
    """Turns entries of the folder into definitions."""

    def __init__(self, folder: Folder, expander: Expander, book: RuleBook, types: Types, sources: Sources) -> None:
        self._folder = folder
        self._problems = folder.problems
        self._expander = expander
        self._book = book
        self._types = types
        self._sources = sources

    def definition(self, entry: Entry) -> Definition | None:
        """What the entry says, with all that its type says; None when there are problems."""
        before = len(self._problems)
        options = check(AssetOptions, entry.options, (entry.path,), self._folder) or rest(AssetOptions, entry.options)
        if options is None:
            self._check_names(entry)
            return None
        self._path(options.path, (*entry.path, "path"))
        type_ = self._types.named(options.type, (*entry.path, "type"))
        self._source(options.source, (*entry.path, "source"))
        if type_ is None:
            for name, written in options.items.items():
                check(ItemOptions, written, ((*entry.path, "items", name),), self._folder)
            return None
        at = (entry.path, *type_.at)
        fields = merge_items(self._folder, type_.items, options.items, at)
        items = self._items(entry, options, fields, at)
        rules = self._rules(options, type_, at)
        for rule in rules.values():
            self._book.watches(rule, items, fields)
        return self._define(options, items, rules) if len(self._problems) == before else None

    def _check_names(self, entry: Entry) -> None:
        """What is missing hides no wrong name."""
        if isinstance(kind := entry.options.get("type"), str):
            self._types.named(kind, (*entry.path, "type"))
        if isinstance(source := entry.options.get("source"), str):
            self._source(source, (*entry.path, "source"))

    def _define(self, options: AssetOptions, items: dict[str, Item], rules: dict[str, Rule]) -> Definition:
        ttls = {item.source: config.ttl_us for item in items.values() if (config := self._sources[item.source])}
        return Definition(
            type=options.type,
            path=options.path,
            source=options.source,
            items=items,
            sources={name: SourceModel(ttl) for name, ttl in ttls.items()},
            derive={AVAILABILITY: {"rule": AVAILABILITY}, **{metric: rule.spec for metric, rule in rules.items()}},
        )

    def _path(self, text: str, path: Path) -> None:
        try:
            check_path(text)
        except ValueError as error:
            self._problems.add(path, str(error))

    def _rules(self, options: AssetOptions, type_: AssetType, at: tuple[Path, ...]) -> dict[str, Rule]:
        if not options.derive:
            return type_.rules
        derive = self._book.merge(type_.derive, options.derive)
        own = {metric: derive[metric] for metric in options.derive if metric in derive}
        inherited = {metric: rule for metric, rule in type_.rules.items() if metric in derive and metric not in own}
        return {**inherited, **check_rules(self._folder, self._book, own, at)}

    def _items(
        self, entry: Entry, options: AssetOptions, fields: Mapping[str, Fields], at: tuple[Path, ...]
    ) -> dict[str, Item]:
        """The items that can be read; what keeps others from it becomes problems."""
        self._complete("source", entry, options.source, fields)
        self._complete("address", entry, options.address, fields)
        reader = _Addresses(self._folder, self._sources, entry, options.address)
        items = {}
        for name, written in fields.items():
            source = written.get("source") or options.source
            template = written.get("address") or options.address
            places = tuple((*owner, "items", name) for owner in at)
            if not self._named_by_item(written, places) or source is None or template is None:
                continue
            where = self._folder.nearest(places, ("address",)) if written.get("address") else (*entry.path, "address")
            address = reader.address(name, source, template, where)
            if address is not None and not isinstance(written, Broken):
                items[name] = _item(written, source, address)
            self._former(name, written, fields, places)
        reader.check_distinct()
        return items

    def _complete(self, option: str, entry: Entry, given: str | None, items: Mapping[str, Fields]) -> None:
        without = [name for name, written in items.items() if not written.get(option)]
        if given is None and without and not self._misspelt(entry):
            names = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
            self._problems.add((*entry.path, option), f"is required by {names}")

    def _misspelt(self, entry: Entry) -> bool:
        """Whether an unknown option may be the one that seems to be missing."""
        return any(key not in AssetOptions.model_fields for key in entry.options)

    def _named_by_item(self, written: Fields, places: tuple[Path, ...]) -> bool:
        named = written.get("source")
        return named is None or self._source(named, self._folder.nearest(places, ("source",)))

    def _source(self, name: str | None, path: Path) -> bool:
        if name is None or name in self._sources:
            return True
        if "{" not in name:
            self._problems.add(path, f'is "{name}"{suggestion(name, self._sources, "sources")}')
        return False

    def _former(self, name: str, written: Fields, fields: Mapping[str, Any], places: tuple[Path, ...]) -> None:
        """An item continues one that is no more, and that no other continues."""
        if not (was := written.get("was")):
            return
        first = next(other for other, options in fields.items() if options.get("was") == was)
        if was == name:
            problem = "is the item's own name"
        elif was in fields:
            problem = f'is "{was}", which is another item of this asset; take that away, or this was'
        elif first != name:
            problem = f'is "{was}", which "{first}" was, too; only one item can go on with its series'
        else:
            return
        self._problems.add(self._folder.nearest(places, ("was",)), problem)


class _Addresses:
    """Fills the templates of one asset."""

    def __init__(self, folder: Folder, sources: Sources, entry: Entry, template: str | None) -> None:
        self._problems = folder.problems
        self._sources = sources
        self._entry = entry
        self._template = template
        self._failed: set[Path] = set()
        self._without_item: list[str] = []

    def address(self, item: str, source: str, template: str, where: Path) -> str | None:
        """The address of an item; None when it has a problem."""
        if "${" in template or where in self._failed:
            return None
        try:
            address = fill_template(template, item, self._entry)
            if config := self._sources.get(source):
                config.check_address(address)
        except ValueError as error:
            self._failed.add(where)
            self._problems.add(where, str(error))
            return None
        if template == self._template and "{item}" not in template and where[-2] == self._entry.path[-1]:
            self._without_item.append(item)
        return address

    def check_distinct(self) -> None:
        """A template that ignores the item gives one address to all: surely a slip."""
        if len(self._without_item) > 1:
            text = f"gives {len(self._without_item)} items the same address; put {{item}} into it"
            self._problems.add((*self._entry.path, "address"), text)


def _item(written: Fields, source: str, address: str) -> Item:
    options = {**written, "source": source, "address": address}
    if counter := written.get("counter"):
        options["counter"] = Counter(**counter)
    elif counter is not None:
        options["counter"] = Counter()
    return Item(**options)
