"""Types of assets with all they inherit."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from assets._expand import Expander
from assets._folder import Folder
from assets._problems import Path, suggestion
from assets._rules import Rule, RuleBook
from assets._schema import ItemOptions, TypeOptions
from assets._wording import check, rest
from assets.names import check_item_id

Fields = dict[str, Any]
"""The options of an item that are written, checked."""


class Broken(Fields):
    """What is left of an item with a problem: where it is read, so that this is checked all the same."""


NUMERIC_ONLY = ("unit", "range", "deadband", "counter")
DISCRETE_ONLY = ("states", "enum")


class AssetType(NamedTuple):
    """A type: the paths of itself and those it extends, items, rules as written and checked."""

    at: tuple[Path, ...]
    items: dict[str, Fields]
    derive: dict[str, Any]
    rules: dict[str, Rule]


class Types:
    """All types of the folder, each resolved once."""

    def __init__(self, folder: Folder, expander: Expander, book: RuleBook) -> None:
        self._folder = folder
        self._book = book
        self._expander = expander
        self._written: dict[str, TypeOptions | None] = {}
        for name, options in folder.sections["types"].items():
            path = ("types", name)
            filled = expander.fill(options, path, None)
            self._written[name] = check(TypeOptions, filled, (path,), folder) or rest(TypeOptions, filled)
        self._known: dict[str, AssetType | None] = {}
        for name in self._written:
            self._resolve(name, ())

    def named(self, name: str, asked_at: Path) -> AssetType | None:
        """The type of that name; None when there is none or it has a problem."""
        if name not in self._written:
            self._folder.problems.add(asked_at, f'is "{name}"{suggestion(name, self._written, "types")}')
        return self._known.get(name)

    def _resolve(self, name: str, below: tuple[str, ...]) -> AssetType | None:
        if name in self._known:
            return self._known[name]
        path, options = ("types", name), self._written[name]
        if options is None:
            return self._known.setdefault(name, None)
        base: AssetType | None = AssetType((), {}, {}, {})
        if options.extends is not None:
            base = self._base(options.extends, name, below)
        if base is None:
            return self._known.setdefault(name, None)
        at = (path, *base.at)
        items = merge_items(self._folder, base.items, options.items, at)
        derive = self._book.merge(base.derive, options.derive)
        return self._known.setdefault(
            name, AssetType(at, items, derive, check_rules(self._folder, self._book, derive, at))
        )

    def _base(self, extended: str, name: str, below: tuple[str, ...]) -> AssetType | None:
        path, cycle = ("types", name, "extends"), (*below, name)
        if extended in cycle:
            self._folder.problems.add(path, f"is a circle: {' extends '.join((*cycle, extended))}")
            return None
        if extended not in self._written:
            self._folder.problems.add(path, f'is "{extended}"{suggestion(extended, self._written, "types")}')
            return None
        return self._resolve(extended, cycle)


def merge_items(
    folder: Folder, base: Mapping[str, Fields], written: Mapping[str, Any], at: tuple[Path, ...]
) -> dict[str, Fields]:
    """Items with what is written for them here; `at` are the paths of the owners, the most specific first."""
    merged = dict(base)
    for name, options in written.items():
        places = tuple((*owner, "items", name) for owner in at)
        checked = check(ItemOptions, options, places, folder)
        known = merged.get(name, {})
        if not named_well(folder, name, places[0]) or checked is None or isinstance(known, Broken):
            merged[name] = Broken({**known, **_reach(options)})
            continue
        fields = merge(known, checked.model_dump(exclude_unset=True))
        merged[name] = fields if _fits(folder, fields, places) else Broken(fields)
    return merged


def _reach(options: Any) -> Fields:
    written = options if isinstance(options, dict) else {}
    return {key: written[key] for key in ("source", "address") if isinstance(written.get(key), str)}


def check_rules(folder: Folder, book: RuleBook, derive: Mapping[str, Any], at: tuple[Path, ...]) -> dict[str, Rule]:
    """The rules that are written, without those that have problems."""
    rules = {}
    for metric, written in derive.items():
        places = tuple((*owner, "derive", metric) for owner in at)
        rule = book.rule(written, places)
        if named_well(folder, metric, folder.nearest(places, ())) and rule:
            rules[metric] = rule
    return rules


def named_well(folder: Folder, name: str, path: Path) -> bool:
    """Whether an item or metric may have this name."""
    try:
        check_item_id(name)
    except ValueError as error:
        folder.problems.add(path, str(error))
        return False
    return True


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `over` winning; options inside options are merged likewise."""
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def _fits(folder: Folder, fields: Fields, places: tuple[Path, ...]) -> bool:
    """Whether the options of an item go together."""
    category = fields.get("category", "SAMPLE")
    numeric = category == "SAMPLE"
    out_of_place = [key for key in (DISCRETE_ONLY if numeric else NUMERIC_ONLY) if fields.get(key) is not None]
    for option in out_of_place:
        belongs = "an EVENT" if numeric else "a SAMPLE"
        at, cause = folder.nearest(places, (option,)), folder.nearest(places, ("category",))
        if cause[:-1] == places[0] != at[:-1]:  # the option is inherited, the category that it does not fit is not
            folder.problems.add(cause, f"is {category}, but {option} belongs to {belongs}")
        else:
            folder.problems.add(at, f"belongs to {belongs}; the category is {category}")
    if fields.get("states") and fields.get("enum"):
        folder.problems.add(folder.nearest(places, ("enum",)), "cannot stand beside states, which has all the names")
        return False
    return not out_of_place
