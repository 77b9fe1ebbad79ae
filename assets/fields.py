"""What fields of records may hold. The decoder checks it, so that no view meets a number that it has no room for."""

from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta

Instant = Annotated[int, Meta(ge=0, le=253_402_300_799_999_999)]
"""Microseconds since 1970; the end of the year 9999 is the last that calendars of all readers know."""
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
SmallCount = Annotated[int, Meta(ge=0, le=(1 << 15) - 1)]
VersionNumber = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
StatusCode = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
Flags = Annotated[int, Meta(ge=0, le=(1 << 15) - 1)]

Scalar = int | float | str | bool | None
"""Integers are exact, also beyond 64 bits."""
LEVELS: Final = 10
"""Of lists and objects within each other: a reader could read more than it can write again on the stack it has."""


def _nested(levels: int) -> Any:
    """The type of at most so many levels: the decoder needs no look at each value to refuse more."""
    deeper: Any = _nested(levels - 1) if levels > 1 else Scalar
    return Scalar | list[deeper] | dict[str, deeper]


if TYPE_CHECKING:
    Value = Scalar | list[Any] | dict[str, Any]
else:
    Value = _nested(LEVELS)
"""What may stand in the `value` of an observation or a derived event: what JSON can say."""
