"""Rules of `derive:`: `overheat: {alarm: temperature, above: 90}` names its kind, the item it watches, and options."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from assets._folder import Folder
from assets._problems import Path, nearest, suggestion
from assets._wording import check
from assets.definition import Item

AVAILABILITY = "availability"
"""The metric that every asset has, and the kind of its rule."""


class Rule(NamedTuple):
    """A checked rule: `spec` is what the stream carries, `watched` the item (if any), `at` where its kind stands."""

    kind: str
    watched: str | None
    spec: dict[str, Any]
    model: Any
    at: Path


class RuleBook:
    """The kinds of rules there are, and how what is written becomes a rule."""

    def __init__(self, folder: Folder, kinds: Mapping[str, type[Any]]) -> None:
        self._folder = folder
        self._kinds = kinds

    def merge(self, base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
        """Rules as written, those of `over` changing those of `base`: null removes one, another kind replaces it."""
        merged = dict(base)
        for metric, options in over.items():
            known = merged.get(metric)
            if options is None and metric in merged:
                del merged[metric]
            elif (
                isinstance(known, dict)
                and isinstance(options, dict)
                and self._kind(options) in {None, self._kind(known)}
            ):
                merged[metric] = {**known, **options}
            else:
                merged[metric] = options
        return merged

    def rule(self, written: Any, at: tuple[Path, ...]) -> Rule | None:
        """The rule that is written at these paths (the most specific first); None when it has problems."""
        if not isinstance(written, dict) or (kind := self._kind(written)) is None:
            self._folder.problems.add(self._folder.nearest(at, ()), f"names no rule{self._help(written)}")
            return None
        if "item" in written:
            self._folder.problems.add(self._folder.nearest(at, ("item",)), f'is unknown; write "{kind}: ITEM"')
            return None
        options = {("item" if key == kind else key): value for key, value in written.items()}
        if options["item"] is None:
            del options["item"]
        model = check(self._kinds[kind], options, at, self._folder, {"item": kind})
        if model is None:
            return None
        spec = model.model_dump(mode="json", exclude_none=True)
        where = self._folder.nearest(at, (kind,))
        return Rule(kind, getattr(model, "item", None) or None, {"rule": kind, **spec}, model, where)

    def watches(self, rule: Rule, items: Mapping[str, Item], known: Mapping[str, Any]) -> None:
        """Check that an asset has the item a rule watches and that the rule can watch it.

        `items` are those without problems, `known` all that are written.
        """
        name = rule.watched
        if name is None:
            return
        if name not in known:
            renamed = next((item for item, options in known.items() if options.get("was") == name), None)
            now = f', which is now called "{renamed}"' if renamed else suggestion(name, known, "items")
            self._folder.problems.add(rule.at, f'is "{name}"{now}')
        elif name in items and (check_item := getattr(rule.model, "check_item", None)):
            try:
                check_item(items[name])
            except ValueError as error:
                self._folder.problems.add(rule.at, f'cannot watch "{name}": {error}')

    def _kind(self, written: Mapping[str, Any]) -> str | None:
        return next((key for key in written if key in self._kinds), None)

    def _help(self, written: Any) -> str:
        for key in written if isinstance(written, dict) else ():
            if meant := nearest(key, self._kinds):
                return f'; did you mean "{meant}" instead of "{key}"?'
        return f"; known rules are {', '.join(sorted(self._kinds))}" if self._kinds else "; there are no rules"
