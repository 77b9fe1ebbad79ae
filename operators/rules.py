"""Run the `derive:` rules that the stream carries: one logic for all rules of an asset.

A changed definition acts from its offset on: a rule whose options stayed the same keeps its state, a changed or
removed one ends (its metric becomes unknown) and a new one starts afresh.
"""

import functools
import operator
from collections.abc import Iterator
from typing import Any

from assets.definition import Definition
from assets.duration import FROM_STREAM
from assets.frame import Observation
from assets.plugins import discover
from operators.asset_logic import AssetLogic, Change, Changes
from operators.rule import Rule

KINDS: dict[str, type[Rule]] = discover("operators", "Spec")
"""All rule kinds by name: the public modules of this folder that have a `Spec`."""

_State: Any = functools.reduce(operator.or_, (kind.State for kind in KINDS.values()))

Named = tuple[str, Rule]


class Compiled:
    """The rules of one definition, by metric, by watched item and by source."""

    def __init__(self, definition: Definition) -> None:
        self.rules: dict[str, Rule] = dict(_build(definition))
        self.by_item: dict[str, tuple[Named, ...]] = {}
        self.by_source: dict[str, tuple[Named, ...]] = {}
        for named in self.rules.items():
            self.by_item[named[1].item] = (*self.by_item.get(named[1].item, ()), named)
            source = named[1].source(definition)
            for name in definition.sources if source is None else (source,):
                self.by_source[name] = (*self.by_source.get(name, ()), named)


def _build(definition: Definition) -> Iterator[Named]:
    """A rule of a kind this program does not know is left out: a newer gateway may have written it."""
    for metric, spec in sorted(definition.derive.items()):
        options = dict(spec)
        if kind := KINDS.get(options.pop("rule", "")):
            yield metric, kind.model_validate(options, context=FROM_STREAM)


_NOTHING = Compiled(Definition(type="", path=""))
_compiled: dict[str, Compiled] = {}


def compiled(definition: Definition) -> Compiled:
    """The rules of a definition; assets with the same definition share them."""
    model = definition.model
    if model not in _compiled:
        _compiled[model] = Compiled(definition)
    return _compiled[model]


class Rules(AssetLogic):
    """Runs the rules of an asset's definition; keeps one state per metric."""

    states: dict[str, _State] = {}

    def __post_init__(self) -> None:
        self._rules = _NOTHING
        self._by_item = _NOTHING.by_item

    def bind(self, definition: Definition) -> None:
        self._rules = compiled(definition)
        self._by_item = self._rules.by_item

    def on_definition(self, definition: Definition) -> Changes:
        """Keep the states of unchanged rules, end the others."""
        before, self._rules = self._rules, compiled(definition)
        self._by_item = self._rules.by_item
        ended: list[Change] = []
        for metric, rule in before.rules.items():
            if self._rules.rules.get(metric) != rule:
                ended += _named(rule, rule.on_end(metric, self.states.pop(metric), self.now))
        for metric, rule in self._rules.rules.items():
            if metric not in self.states:
                self.states[metric] = rule.State()
        self._reckon_due()
        return ended

    def on_observation(self, o: Observation) -> Changes:
        watching = self._by_item.get(o.item)
        if watching is None:
            return None
        out: list[Change] | None = None
        for metric, rule in watching:
            state = self.states[metric]
            due = state.due
            changes = rule.on_observation(metric, state, o)
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
        for metric, rule in self._rules.by_source.get(source, ()):
            out += _named(rule, rule.on_link(metric, self.states[metric], source, available, at))
        self._reckon_due()
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
