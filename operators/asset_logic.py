"""What an engineer writes: the logic of one asset, as a plain class whose fields are its state.

    class Overheat(AssetLogic):
        hot: bool = False

        def on_observation(self, o):
            if o.item == "temperature" and o.value is not None and (o.value > 90) != self.hot:
                self.hot = not self.hot
                yield Change("overheat", self.hot)

The class knows neither Kafka nor the engine: a test calls its methods. Annotated fields (with defaults) are kept across
restarts as msgpack; a field may be added later, a changed meaning needs a new `version`.
"""

from collections.abc import Container, Iterable
from typing import Any, ClassVar

import msgspec

from assets.definition import Definition
from assets.fields import Value
from assets.frame import Observation


class Change(msgspec.Struct, gc=False):
    """A metric of the asset changed to `value` at `time` (us; None: now, the event time being handled).

    `previous` was in force since `since`. `status` is an OPC UA StatusCode: Bad when the value is not known.
    """

    metric: str
    value: Value
    previous: Value = None
    since: int | None = None
    status: int = 0
    time: int | None = None
    operator: str = ""
    operator_version: int = 0


Changes = Iterable[Change] | None
"""What a hook returns; a hook that yields is annotated `Iterator[Change]`."""


class _Unsaved:
    """One attribute that is in no snapshot, as a slot: with many assets, memory is time."""

    __slots__ = ("bound",)

    bound: Any


class AssetLogic(_Unsaved, msgspec.Struct, kw_only=True, dict=True):
    """One object per asset; its annotated fields are its state. Every hook may yield or return `Change`s.

    Set `due` to an instant (us, event time) to have `on_time` called then. It is called before anything later is
    handled, with exactly that instant, whatever the wall clock says; a replay calls it the same way.
    """

    version: ClassVar[int] = 1
    """Written with every change; raise it when the same input gives other output."""

    asset: str = ""
    """The asset's id."""
    now: int = 0
    """The event time of the asset: the newest sample or timer so far (us)."""
    due: int | None = None
    """When `on_time` is wanted next (us), or None."""

    @property
    def wanted(self) -> Container[str] | None:
        """The items `on_observation` is called for; None: all, also the asset's own facts that begin with `_`.

        Naming them makes the others nearly free.
        """
        return None

    def on_observation(self, o: Observation) -> Changes:
        """A value arrived; `o.time` is its event time. Repeated values (`NO_SAMPLE` flags) arrive as well."""

    def on_time(self, now: int) -> Changes:
        """The instant asked for with `due` has come; `due` is None again."""

    def on_link(self, source: str, available: bool, at: int) -> Changes:
        """The link to one of the asset's sources was lost (or silent for its ttl) or came back at `at`."""

    def on_gap(self, items: Container[str], start: int, end: int) -> Changes:
        """Values of these items could not be read between two instants (us): what was known before may be over."""

    def on_removed(self, at: int) -> Changes:
        """The asset is gone from the plant: end what is open. The object is dropped afterwards, with its timers."""

    def on_definition(self, definition: Definition) -> Changes:
        """The asset's definition is first known or has changed; acts from here on."""
        self.bind(definition)
        return None

    def bind(self, definition: Definition) -> None:
        """The definition in force, also after a restart (then without addresses).

        For what is kept in no field: an attribute that is not annotated; the cheapest one is `bound`.
        """
