"""Run the `derive:` rules that the stream carries: one logic for all rules of an asset.

A changed definition acts from its offset on: a rule that stayed the same keeps its state, also when its item was
renamed; a changed or removed one ends (its metric becomes unknown) and a new one starts afresh. A rule whose item has
another unit or category is a changed one: its limits mean something else.
"""

import functools
import operator
import weakref
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from pydantic import ValidationError

from assets.definition import Definition, Item
from assets.duration import FROM_STREAM
from assets.frame import Observation
from assets.plugins import discover
from assets.status import BAD_CONFIGURATION_ERROR, BAD_NOT_SUPPORTED, BAD_WAITING_FOR_INITIAL_DATA
from operators.asset_logic import AssetLogic, Change, Changes
from operators.rule import Rule, counts

KINDS: dict[str, type[Rule]] = discover("operators", "Spec")
"""All rule kinds by name: the public modules of this folder that have a `Spec`."""

_State: Any = functools.reduce(operator.or_, (kind.State for kind in KINDS.values()))

_Watch = tuple[int, str, Rule, Callable[[str, Any, Observation, int], Changes]]
"""A rule that watches an item: its number, its metric, the rule, its hook for observations."""


class Compiled:
    """Rules ready to run, by metric and by watched item, and numbered from 1; assets with the same rules share them."""

    def __init__(self, derive: Mapping[str, dict[str, Any]]) -> None:
        built = {metric: _build(spec) for metric, spec in sorted(derive.items())}
        self.rules: dict[str, Rule] = {metric: rule for metric, rule in built.items() if rule is not None}
        self.broken = tuple(metric for metric, rule in built.items() if rule is None)
        self.by_item: dict[str, tuple[_Watch, ...]] = {}
        for number, (metric, rule) in enumerate(self.rules.items(), 1):
            watch = number, metric, rule, rule.on_observation
            self.by_item[rule.item] = (*self.by_item.get(rule.item, ()), watch)


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
    return _Watched(rule.source(definition), None if item is None else _meaning(item))


def _meaning(item: Item) -> tuple[str, str | None]:
    return item.category, item.unit


class _Binding:
    """What a definition says to its rules, shared by all assets of which it is true; `watched` is by metric."""

    __slots__ = ("__weakref__", "by_item", "compiled", "sources", "watched")

    def __init__(self, compiled: Compiled, watched: Iterable[_Watched], sources: frozenset[str]) -> None:
        self.compiled, self.sources = compiled, sources
        self.by_item, self.watched = compiled.by_item, dict(zip(compiled.rules, watched, strict=True))


_NOTHING = Compiled({})
_UNBOUND = _Binding(_NOTHING, (), frozenset())
_bindings: weakref.WeakValueDictionary[Any, _Binding] = weakref.WeakValueDictionary()
_compiled: weakref.WeakValueDictionary[bytes, Compiled] = weakref.WeakValueDictionary()
"""Those that assets have now: what a changed definition replaces is not kept."""


def compiled(derive: Mapping[str, dict[str, Any]]) -> Compiled:
    """The rules of a definition's `derive`."""
    key = msgspec.json.encode(derive, order="sorted")
    made = _compiled.get(key)
    if made is None:
        made = _compiled[key] = Compiled(derive)
    return made


def _binding(definition: Definition) -> _Binding:
    made, sources = compiled(definition.derive), definition.all_sources
    watched = tuple(_watched(rule, definition) for rule in made.rules.values())
    key = made, watched, sources
    binding = _bindings.get(key)
    if binding is None:
        binding = _bindings[key] = _Binding(made, watched, sources)
    return binding


class Rules(AssetLogic):
    """Runs the rules of an asset's definition; keeps one state per metric."""

    states: dict[str, _State] = {}

    def __post_init__(self) -> None:
        self.bound = (_UNBOUND,)

    def bind(self, definition: Definition) -> None:
        self._bind(_binding(definition))

    def _bind(self, made: _Binding) -> None:
        """Keep the binding and, by the numbers of the rules, their states: at hand without a look-up."""
        rules = made.compiled.rules.items()
        self.bound = (made, *(self.states.setdefault(metric, rule.State()) for metric, rule in rules))

    @property
    def _binding(self) -> _Binding:
        bound: _Binding = self.bound[0]
        return bound

    def on_definition(self, definition: Definition) -> Changes:
        """Keep the states of unchanged rules, end the others; a rule that cannot be run has a Bad metric."""
        now_bound, broken = _binding(definition), self._binding.compiled.broken
        after, left = now_bound.compiled.rules, self._left(now_bound)
        out = [_unknown(metric, definition) for metric in broken if metric not in now_bound.compiled.broken]
        for metric, rule in self._binding.compiled.rules.items():
            now = after.get(metric)
            if now is None or not self._goes_on(metric, rule, now, definition):
                out += _named(rule, _ended(metric, rule.on_end(metric, self.states.pop(metric), self.now), definition))
                continue
            for source in left[metric]:
                out += _named(now, now.on_source_left(metric, self.states[metric], source, self.now))
        self._bind(now_bound)
        self._reckon_due()
        new = (metric for metric in now_bound.compiled.broken if metric not in broken)
        return out + [Change(metric, None, status=BAD_CONFIGURATION_ERROR) for metric in new]

    def _goes_on(self, metric: str, rule: Rule, now: Rule, definition: Definition) -> bool:
        """Whether a rule is still the one it was, though its item may have another name."""
        item = definition.items.get(now.item)
        if rule.item != now.item and item is not None and item.was == rule.item:
            now = now.model_copy(update={"item": rule.item})
        return rule == now and (item is None or self._binding.watched[metric].meaning == _meaning(item))

    def _left(self, after: _Binding) -> dict[str, list[str]]:
        """By metric the sources that mattered to its rule and do no longer."""
        gone = {}
        for metric, watched in self._binding.watched.items():
            mattered = self._binding.sources if watched.source is None else {watched.source}
            now = after.watched.get(metric, watched).source
            gone[metric] = sorted(mattered - (after.sources if now is None else {now}))
        return gone

    @property
    def wanted(self) -> Container[str]:
        watched: Container[str] = self.bound[0].by_item
        return watched

    def on_observation(self, o: Observation) -> Changes:
        out: list[Change] | None = None
        time, flags, bound = o.time, o.flags, self.bound
        for number, metric, rule, observe in bound[0].by_item.get(o.item, ()):
            state = bound[number]
            if flags:
                if not counts(state, o, time):
                    continue
            elif time < state.sample and o.source_time is not None:
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
        for metric, rule in self._binding.compiled.rules.items():
            state = self.states[metric]
            if state.due is not None and state.due <= now:
                state.due = None
                out += _named(rule, rule.on_time(metric, state, now))
        self._reckon_due()
        return out

    def on_link(self, source: str, available: bool, at: int) -> Changes:
        out: list[Change] = []
        bound = self._binding
        for metric, rule in bound.compiled.rules.items() if source in bound.sources else ():
            if bound.watched[metric].source in (source, None):
                out += _named(rule, rule.on_link(metric, self.states[metric], source, available, at))
        self._reckon_due()
        return out

    def on_gap(self, items: Container[str], start: int, end: int) -> Changes:
        out: list[Change] = []
        for metric, rule in self._binding.compiled.rules.items():
            state = self.states[metric]
            if rule.item in items and state.time < end:
                out += _named(rule, rule.on_gap(metric, state, start, end))
        self._reckon_due()
        return out

    def on_removed(self, at: int) -> Changes:
        out: list[Change] = []
        for metric, rule in self._binding.compiled.rules.items():
            out += _named(rule, rule.on_removed(metric, self.states[metric], at))
        return out

    def _reckon_due(self) -> None:
        self.due = min((state.due for state in self.states.values() if state.due is not None), default=None)


def _ended(metric: str, changes: Changes, definition: Definition) -> list[Change]:
    """The last words of a rule: its metric is no more, which is said in any case, or waits for the next value."""
    last = _unknown(metric, definition)
    told = list(changes or ())
    for change in told:
        change.status = last.status
    return told or ([] if metric in definition.derive else [last])


def _unknown(metric: str, definition: Definition) -> Change:
    waits = metric in definition.derive
    return Change(metric, None, status=BAD_WAITING_FOR_INITIAL_DATA if waits else BAD_NOT_SUPPORTED)


def _named(rule: Rule, changes: Changes) -> list[Change]:
    """The changes, bearing the rule's name and version as their operator."""
    named = list(changes or ())
    for change in named:
        change.operator = type(rule).__name__.lower()
        change.operator_version = rule.version
    return named
