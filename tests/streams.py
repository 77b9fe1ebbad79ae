"""A small language for streams in tests: frames and ticks by seconds, batched as anyone likes."""

from collections.abc import Iterable, Sequence
from typing import Any

from assets.batch import Batch
from assets.definition import Counter, Definition, Item, SourceModel
from assets.fields import Value
from assets.frame import DerivedEvent, Frame, Observation, SourceAccount, Tick
from operators._assets import Assets
from operators.asset_logic import AssetLogic

S = 1_000_000

__all__ = ["Counter", "Item", "S", "batch", "cut", "definition", "frame", "run", "said", "tick"]


def definition(**derive: dict[str, Any]) -> Definition:
    """A press with a state and a temperature from source "s" (ttl 10 s), and a power from source "m"."""
    return Definition(
        type="press",
        path="acme/hamburg/forming/line-1",
        source="s",
        items={
            "state": Item(category="EVENT", source="s", address="state", states="packml"),
            "temperature": Item(source="s", address="temperature", unit="Cel"),
            "power": Item(source="m", address="power", unit="kW"),
        },
        sources={"s": SourceModel(10 * S), "m": SourceModel(10 * S)},
        derive=derive,
    )


def frame(
    at: float,
    *observations: tuple[Any, ...],
    asset: str = "press-01",
    source: str = "s",
    gateway: str = "gw-1",
    run: int = 1,
) -> Frame:
    """A frame received at `at` seconds; observations are (item, value[, status, source_time in s, flags])."""
    model = next((str(hash(str(value))) for item, value, *_ in observations if item == "_model"), "")
    return Frame(1, asset, source, gateway, run, 1, int(at * S), model, [_observation(*o) for o in observations])


def _observation(item: str, value: Value, status: int = 0, at: float | None = None, flags: int = 0) -> Observation:
    return Observation(item, value, status, None if at is None else int(at * S), flags)


def tick(at: float, *sources: str, gateway: str = "gw-1", run: int = 1) -> Tick:
    """A tick of a gateway at `at` seconds that proves these sources."""
    accounts = {name: SourceAccount(int(at * S), 0, 0, {}, {}, 0) for name in sources}
    return Tick(1, gateway, run, 1, int(at * S), accounts)


def batch(records: Sequence[Frame | Tick], first: int = 0, partition: int = 0) -> Batch:
    """Records at consecutive offsets."""
    offsets = list(range(first, first + len(records)))
    return Batch(partition, first, first + len(records), offsets, list(records))


def run(logic: type[AssetLogic], records: Sequence[Frame | Tick]) -> list[DerivedEvent]:
    """What a logic makes of records in one piece."""
    return Assets(0, "test", logic).batch(batch(records))


def cut(logic: type[AssetLogic], records: Sequence[Frame | Tick], cuts: Iterable[int]) -> list[DerivedEvent]:
    """The same, in batches that end at `cuts`, with a restart from the snapshot after each."""
    events: list[DerivedEvent] = []
    saved: bytes | None = None
    first = 0
    for end in sorted({*cuts, len(records)}):
        assets = Assets(0, "test", logic)
        if saved is not None:
            assets.load(saved)
        events += assets.batch(batch(records[first:end], first))
        saved, first = assets.save(), end
    return events


def said(events: Iterable[DerivedEvent], metric: str) -> list[tuple[Value, float]]:
    """(value, seconds) of a metric's changes."""
    return [(event.value, event.time / S) for event in events if event.metric == metric]
