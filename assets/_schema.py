"""What may be written under `types` and `assets`; what a source may be told stands in `sources/PROTOCOL.py`."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from assets._problems import suggestion
from assets.duration import DurationUs
from assets.names import ItemId
from assets.states import VOCABULARIES
from assets.units import check_unit


class Options(BaseModel):
    """Options of one entry: an unknown one is a problem, and what was read never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def _check_range(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] >= limits[1]:
        raise ValueError(f"expected [lowest, highest]; it is [{limits[0]:g}, {limits[1]:g}]")
    return limits


def _check_states(name: str) -> str:
    if name not in VOCABULARIES:
        raise ValueError(f'is "{name}"{suggestion(name, VOCABULARIES, "vocabularies")}')
    return name


Entries = Annotated[dict[str, Any], BeforeValidator(lambda written: {} if written is None else written)]
"""Names with options below them, each to be checked where all that it inherits is known."""


class CounterOptions(Options):
    """How a counting item wraps."""

    rollover: Annotated[int, Field(gt=1)] | None = None
    """The counter runs from 0 to this number minus one."""
    max_step: Annotated[int, Field(gt=0)] | None = None
    """A larger step between two values is a reset of the device."""


class ItemOptions(Options):
    """What an asset can tell."""

    category: Literal["SAMPLE", "EVENT", "CONDITION"] = "SAMPLE"
    """SAMPLE is a number with a unit, EVENT is discrete, CONDITION is a state of health."""
    unit: Annotated[str, AfterValidator(check_unit)] | None = None
    """The unit of the value after scale and offset, as UCUM code."""
    range: Annotated[tuple[float, float], AfterValidator(_check_range)] | None = None
    """[lowest, highest]: a value outside is published as Uncertain."""
    scale: float = 1.0
    """The value is raw * scale + offset."""
    offset: float = 0.0
    """The value is raw * scale + offset."""
    deadband: Annotated[float, Field(ge=0)] | None = None
    """A change of less than this, in `unit`, is not published."""
    heartbeat: DurationUs | None = None
    """The first value read after this long without a publication is published, changed or not."""
    stale_after: DurationUs | None = None
    """A value older than this says nothing about the present."""
    missing: tuple[float | int | str, ...] = ()
    """Raw values by which the device says that it has none."""
    states: Annotated[str, AfterValidator(_check_states)] | None = None
    """The standard whose states an EVENT tells: packml, execution or machinery."""
    enum: dict[str, str] | None = None
    """Names for the raw values of an EVENT."""
    counter: CounterOptions | None = None
    """The value only counts up, and wraps."""
    was: ItemId | None = None
    """The item's former name, whose series it continues."""
    writable: bool = False
    """Whether the plant may be written to; otherwise everything is read only."""
    source: str | None = None
    """The source to read from, where it is not the asset's."""
    address: str | None = None
    """The address in the source, where it does not follow from the asset's template."""


class TypeOptions(Options):
    """A type of asset: what its assets can tell, and what is derived from it."""

    extends: str | None = None
    """Another type, whose items and rules this one has too and may change."""
    items: Entries = {}
    """The items by name."""
    derive: Entries = {}
    """The rules by the name of their metric."""


class AssetOptions(Options):
    """An asset: what it is, where it stands and how it is reached."""

    type: str
    """One of `types`."""
    path: str
    """enterprise/site/area/work_center."""
    source: str | None = None
    """One of `sources`, for all items that do not name their own."""
    address: str | None = None
    """The address of an item, with {item}, {asset} and {n} in it."""
    items: Entries = {}
    """Items of this asset alone, or what it changes in those of its type."""
    derive: Entries = {}
    """Rules of this asset alone, or what it changes in those of its type."""
