"""Derived events that wait until their asset's definition is known: the newest of each metric, of the present life."""

from collections.abc import Iterable
from typing import Final

from assets.frame import DerivedEvent
from assets.stream import GONE

AVAILABILITY_RULE: Final = "availability"
"""The operator of the event that says that an asset is gone; every asset has this rule."""


def ends(event: DerivedEvent) -> bool:
    """Whether an event says that its asset is gone from the plant."""
    return event.value == GONE and event.operator == AVAILABILITY_RULE


def keep(metrics: dict[str, DerivedEvent], event: DerivedEvent) -> None:
    """Keep the newest event of each metric of an asset; all that was before its removal, or part of it, is over."""
    if ends(event):
        for metric in [name for name, other in metrics.items() if not ends(other) or other.basis != event.basis]:
            del metrics[metric]
    elif any(ends(other) and other.basis == event.basis for other in metrics.values()):
        return
    metrics[event.metric] = event


def newest_of(events: Iterable[DerivedEvent]) -> list[DerivedEvent]:
    """What to keep of many events, in the order of their basis."""
    newest: dict[str, dict[str, DerivedEvent]] = {}
    for event in events:
        keep(newest.setdefault(event.asset, {}), event)
    kept = (event for metrics in newest.values() for event in metrics.values())
    return sorted(kept, key=lambda event: event.basis)
