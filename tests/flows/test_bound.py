"""What is bound to one store shares its fate, also if the store is lost and filled again while an epoch ends."""

from typing import Any

import pytest
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from sinks._bound import BoundSink
from sources._bound import Binding

PARTS = ["asset-stream/0000", "asset-state/0000"]


class Numbers(FixedPartitionedSource[int, int]):
    """Parts that tell where they begin."""

    def list_parts(self) -> list[str]:
        return PARTS

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "Begun":
        return Begun(resume_state)


class Begun(StatefulSourcePartition[int, int]):
    """A part that stands where it has begun."""

    def __init__(self, begin: int | None) -> None:
        self.begin = begin

    def next_batch(self) -> list[int]:
        return []

    def snapshot(self) -> int:
        return 7


class Letters(FixedPartitionedSink[int, int]):
    """A part that tells where it begins."""

    def list_parts(self) -> list[str]:
        return ["0000"]

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "Letter":
        return Letter(resume_state)


class Letter(StatefulSinkPartition[int, int]):
    """A part that stands where it has begun."""

    def __init__(self, begin: int | None) -> None:
        self.begin = begin

    def write_batch(self, values: list[int]) -> None:
        """Take them."""

    def snapshot(self) -> int:
        return 7


class Process:
    """One process of a flow over a store: two inputs, and a sink whose output follows them."""

    def __init__(self, store: list[Any], saved: list[Any] | None = None) -> None:
        binding = Binding(lambda: (store[0], store[1]))
        source, sink = binding(Numbers()), BoundSink(Letters(), binding.position, binding.noted)
        states = saved or [None] * 3
        self.parts: list[Any] = [
            *(source.build_part("in", name, state) for name, state in zip(PARTS, states, strict=False)),
            sink.build_part("out", "0000", states[2]),
        ]

    def begun(self) -> list[int | None]:
        return [part._part.begin for part in self.parts]


@pytest.mark.parametrize("lost_before", [0, 1, 2, 3])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_store_lost_while_an_epoch_ends_is_lost_for_all_or_for_none(lost_before: int, epochs: int) -> None:
    store: list[Any] = ["first", 5]
    process = Process(store)
    for _ in range(epochs - 1):
        saved = [part.snapshot() for part in process.parts]
    saved = []
    for n, part in enumerate(process.parts):
        if n == lost_before:
            store[:] = ["second", 9]
        saved.append(part.snapshot())
    if lost_before == 3:
        store[:] = ["second", 9]
    anew = lost_before > 0
    assert Process(store, saved).begun() == ([None] * 3 if anew else [7] * 3)


def test_the_epoch_after_a_loss_belongs_to_the_store_that_was_filled_again() -> None:
    store: list[Any] = ["first", 5]
    process = Process(store)
    process.parts[0].snapshot()
    store[:] = ["second", 9]
    for part in process.parts[1:]:
        part.snapshot()
    saved = [part.snapshot() for part in process.parts]
    assert Process(store, saved).begun() == [7] * 3


def test_a_store_lost_while_a_flow_starts_is_lost_for_all_or_for_none() -> None:
    store: list[Any] = ["first", 5]
    saved = [part.snapshot() for part in Process(store).parts]

    class Losing(list[Any]):
        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            if key == 1:
                self[:] = ["second", 9]
            return found

    assert Process(Losing(store), saved).begun() == [7] * 3
