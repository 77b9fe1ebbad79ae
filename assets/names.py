"""The names people give: what they may look like, and the ISA-95 path of an asset.

They become Kafka keys, NATS subject tokens, step ids of the engine and values in Parquet, so they are narrow.
"""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

PATH_LEVELS: Final = ("enterprise", "site", "area", "work_center")

_ID: Final = re.compile(r"[a-z][a-z0-9-]*")
_ITEM_ID: Final = re.compile(r"[a-z][a-z0-9_-]*")


def check_id(text: str) -> str:
    """The id of a source, type or asset, or one level of a path; raises ValueError."""
    if not _ID.fullmatch(text):
        raise ValueError(f'expected small letters, digits and "-", beginning with a letter; it is "{text}"')
    return text


def check_item_id(text: str) -> str:
    """The id of an item or metric; raises ValueError. Those that begin with "_" are facts of the gateway's own."""
    if not _ITEM_ID.fullmatch(text):
        raise ValueError(f'expected small letters, digits, "-" and "_", beginning with a letter; it is "{text}"')
    return text


def check_path(text: str) -> str:
    """The path of an asset: exactly enterprise/site/area/work_center; raises ValueError.

    >>> check_path("acme/hamburg/forming/line-1")
    'acme/hamburg/forming/line-1'
    """
    levels = text.split("/")
    if len(levels) != len(PATH_LEVELS) or not all(map(_ID.fullmatch, levels)):
        raise ValueError(
            f'expected {"/".join(PATH_LEVELS)}, each of small letters, digits and "-"; it is "{text}"',
        )
    return text


def split_path(path: str) -> dict[str, str]:
    """The levels of a path by their names.

    >>> split_path("acme/hamburg/forming/line-1")["work_center"]
    'line-1'
    """
    return dict(zip(PATH_LEVELS, path.split("/"), strict=True))


ItemId = Annotated[str, AfterValidator(check_item_id)]
