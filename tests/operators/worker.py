"""A worker of the engine in plain Python: runs the steps of a dataflow item by item, cut and resumed as a test likes.

It knows the engine's core steps only, and the test of the contract compares it with the engine itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from bytewax.dataflow import Dataflow, Operator, Stream

Keyed = tuple[str, Any]
State = dict[tuple[str, str], bytes]
"""What a recovery store holds: a snapshot per step and key."""


def steps(parent: Any) -> Iterator[Operator]:
    """The core steps of a dataflow: all others are made of them."""
    for step in parent.substeps:
        if getattr(step, "core", False):
            yield step
        else:
            yield from steps(step)


class Worker:
    """Runs what hangs on some streams of a dataflow; `saved` is the state it resumes from."""

    def __init__(self, flow: Dataflow, results: Mapping[str, Stream[Keyed]], saved: State | None = None) -> None:
        self.out: dict[str, list[Keyed]] = {name: [] for name in results}
        self._names = {stream.stream_id: name for name, stream in results.items()}
        self._below: dict[str, list[Operator]] = {}
        self._logics: dict[tuple[str, str], Any] = {}
        for step in steps(flow):
            for port in step.ups_names:
                for stream in getattr(step, port).stream_ids.values():
                    self._below.setdefault(stream, []).append(step)
            for (of, key), state in (saved or {}).items():
                if of == step.step_id:
                    self._logics[of, key] = step.builder(state)  # type: ignore[attr-defined]

    def push(self, stream: Stream[Keyed], items: list[Keyed]) -> None:
        """Hand one batch of items to a stream, and on, until they are results."""
        self._push(stream.stream_id, items)

    def _push(self, stream: str, items: list[Any]) -> None:
        if not items:
            return
        if (name := self._names.get(stream)) is not None:
            self.out[name] += items
        for step in self._below.get(stream, ()):
            for down, made in getattr(self, f"_{type(step).__name__}")(step, items):
                self._push(down, made)

    def _flat_map_batch(self, step: Any, items: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield step.down.stream_id, list(step.mapper(items))

    def _branch(self, step: Any, items: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield step.trues.stream_id, [item for item in items if step.predicate(item)]
        yield step.falses.stream_id, [item for item in items if not step.predicate(item)]

    def _merge(self, step: Any, items: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield step.down.stream_id, items

    def _redistribute(self, step: Any, items: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield step.down.stream_id, items

    def _stateful_batch(self, step: Any, items: list[Keyed]) -> Iterator[tuple[str, list[Any]]]:
        values: dict[str, list[Any]] = {}
        for key, value in items:
            values.setdefault(key, []).append(value)
        made = [self._activate(step, key, some) for key, some in sorted(values.items())]
        yield step.down.stream_id, list(chain.from_iterable(made))

    def _activate(self, step: Any, key: str, values: list[Any]) -> Iterable[Keyed]:
        at = step.step_id, key
        logic = self._logics.get(at)
        if logic is None:
            logic = self._logics[at] = step.builder(None)
        made, discard = logic.on_batch(values)
        made = list(made)
        assert logic.notify_at() is None, f"{step.step_id} asks for the time of day; only the stream may drive it"
        if discard:
            del self._logics[at]
        return [(key, each) for each in made]

    def snapshot(self) -> State:
        """The state of all steps, as a recovery store would hold it."""
        return {at: logic.snapshot() for at, logic in self._logics.items()}
