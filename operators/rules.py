"""Run the `derive:` rules that the stream carries: one logic for all rules of an asset.

A changed definition acts from its offset on: a rule that stayed the same keeps its state, also when its item was
renamed; a changed or removed one ends (its metric becomes unknown) and a new one starts afresh. A rule whose item has
another unit or category is a changed one: its limits mean something else.
"""

import functools
import operator
from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from pydantic import ValidationError

from assets.definition import Definition, Item
from assets.duration import FROM_STREAM
from assets.frame import Observation
from assets.plugins import discover
from assets.status import BAD_CONFIGURATION_ERROR
from operators.asset_logic import AssetLogic, Change, Changes
from operators.rule import Rule, counts

KINDS: dict[str, type[Rule]] = discover("operators", "Spec")
"""All rule kinds by name: the public modules of this folder that have a `Spec`."""

T = TypeVar("T")
_State: Any = functools.reduce(operator.or_, (kind.State for kind in KINDS.values()))

Named = tuple[str, Rule]
_Watch = tuple[str, Rule, Callable[[str, Any, Observation, int], Changes], Any]
"""A rule at work on one asset: metric, rule, its hook for observations, its state; at hand without a look-up."""


class Compiled:
    """Rules ready to run, by metric and by watched item; assets with the same rules share them."""

    def __init__(self, derive: Mapping[str, dict[str, Any]]) -> None:
        built = {metric: _build(spec) for metric, spec in sorted(derive.items())}
        self.rules: dict[str, Rule] = {metric: rule for metric, rule in built.items() if rule is not None}
        self.broken = tuple(metric for metric, rule in built.items() if rule is None)
        self.by_item: dict[str, tuple[Named, ...]] = {}
        for named in self.rules.items():
            self.by_item[named[1].item] = (*self.by_item.get(named[1].item, ()), named)


def _build(spec: Mapping[str, Any]) -> Rule | None:
    """The rule, or None for one that this program cannot run: a newer gateway may have written it."""
    options = dict(spec)
    kind = KINDS.get(str(options.pop("rule", None)))
    try:
        return kind.model_validate(options, context=FROM_STREAM) if kind else None
    except ValidationError:
        return None


class _Watched(NamedTuple):
    """What a rule needs to know of its item: the source whose link matters (None: all), and what its values mean."""

    source: str | None
    meaning: tuple[str, str | None] | None


def _watched(rule: Rule, definition: Definition) -> _Watched:
    item = definition.items.get(rule.item)
    return _shared(_Watched(rule.source(definition), None if item is None else _meaning(item)))


def _meaning(item: Item) -> tuple[str, str | None]:
    return item.category, item.unit


_known: dict[Any, Any] = {}


def _shared(fact: T) -> T:
    """The same object for all assets of which it is true."""
    known: T = _known.setdefault(fact, fact)
    return known


_NOTHING = Compiled({})
_compiled: dict[bytes, Compiled] = {}


def compiled(derive: Mapping[str, dict[str, Any]]) -> Compiled:
    """The rules of a definition's `derive`."""
    key = msgspec.json.encode(derive, order="sorted")
    if key not in _compiled:
        _compiled[key] = Compiled(derive)
    return _compiled[key]


class Rules(AssetLogic):
    """Runs the rules of an asset's definition; keeps one state per metric."""

    states: dict[str, _State] = {}

    def __post_init__(self) -> None:
        self._rules = _NOTHING
        self._watched: dict[str, _Watched] = {}
        self._sources: frozenset[str] = frozenset()
        self._watching: dict[str, tuple[_Watch, ...]] = {}

    def bind(self, definition: Definition) -> None:
        self._rules = compiled(definition.derive)
        self._watched = {metric: _watched(rule, definition) for metric, rule in self._rules.rules.items()}
        self._sources = _shared(definition.all_sources)
        self._watching = {item: tuple(map(self._watch, named)) for item, named in self._rules.by_item.items()}

    def _watch(self, named: Named) -> _Watch:
        metric, rule = named
        return metric, rule, rule.on_observation, self.states.setdefault(metric, rule.State())

    def on_definition(self, definition: Definition) -> Changes:
        """Keep the states of unchanged rules, end the others; a rule that cannot be run has a Bad metric."""
        before, after, left = self._rules.rules, compiled(definition.derive).rules, self._left(definition)
        out: list[Change] = []
        for metric, rule in before.items():
            now = after.get(metric)
            if now is None or not self._goes_on(metric, rule, now, definition):
                out += _named(rule, rule.on_end(metric, self.states.pop(metric), self.now))
                continue
            for source in left[metric]:
                out += _named(now, now.on_source_left(metric, self.states[metric], source, self.now))
        for metric, rule in after.items():
            self.states.setdefault(metric, rule.State())
        self.bind(definition)
        self._reckon_due()
        return out + [Change(metric, None, status=BAD_CONFIGURATION_ERROR) for metric in self._rules.broken]

    def _goes_on(self, metric: str, rule: Rule, now: Rule, definition: Definition) -> bool:
        """Whether a rule is still the one it was, though its item may have another name."""
        item = definition.items.get(now.item)
        if rule.item != now.item and item is not None and item.was == rule.item:
            now = now.model_copy(update={"item": rule.item})
        return rule == now and (item is None or self._watched[metric].meaning == _meaning(item))

    def _left(self, definition: Definition) -> dict[str, list[str]]:
        """By metric the sources that mattered to its rule and do no longer."""
        after = {metric: _watched(rule, definition) for metric, rule in compiled(definition.derive).rules.items()}
        gone = {}
        for metric, watched in self._watched.items():
            mattered = self._sources if watched.source is None else {watched.source}
            now = after.get(metric, watched).source
            gone[metric] = sorted(mattered - (definition.all_sources if now is None else {now}))
        return gone

    @property
    def wanted(self) -> Container[str]:
        return self._watching

    def on_observation(self, o: Observation) -> Changes:
        out: list[Change] | None = None
        time, flags = o.time, o.flags
        for metric, rule, observe, state in self._watching.get(o.item, ()):
            if flags:
                if not counts(state, time, flags):
                    continue
            elif time < state.sample:
                continue
            else:
                state.sample = time
            if time > state.time:  # noqa: PLR1730 - max() costs a call in the hottest loop
                state.time = time
            due = state.due
            changes = observe(metric, state, o, state.time)
            if state.due != due:
                self._reckon_due()
            if changes:
                out = [*(out or ()), *_named(rule, changes)]
        return out

    def on_time(self, now: int) -> Changes:
        """Fire what is due, in the order of the metrics."""
        out: list[Change] = []
        for metric, rule in self._rules.rules.items():
            state = self.states[metric]
            if state.due is not None and state.due <= now:
                state.due = None
                out += _named(rule, rule.on_time(metric, state, now))
        self._reckon_due()
        return out

    def on_link(self, source: str, available: bool, at: int) -> Changes:
        out: list[Change] = []
        for metric, rule in self._rules.rules.items() if source in self._sources else ():
            if self._watched[metric].source in (source, None):
                out += _named(rule, rule.on_link(metric, self.states[metric], source, available, at))
        self._reckon_due()
        return out

    def on_gap(self, items: Container[str], start: int, end: int) -> Changes:
        out: list[Change] = []
        for metric, rule in self._rules.rules.items():
            state = self.states[metric]
            if rule.item in items and state.time < end:
                out += _named(rule, rule.on_gap(metric, state, start, end))
        self._reckon_due()
        return out

    def on_removed(self, at: int) -> Changes:
        out: list[Change] = []
        for metric, rule in self._rules.rules.items():
            out += _named(rule, rule.on_removed(metric, self.states[metric], at))
        return out

    def _reckon_due(self) -> None:
        self.due = min((state.due for state in self.states.values() if state.due is not None), default=None)


def _named(rule: Rule, changes: Changes) -> list[Change]:
    """The changes, bearing the rule's name and version as their operator."""
    named = list(changes or ())
    for change in named:
        change.operator = type(rule).__name__.lower()
        change.operator_version = rule.version
    return named
