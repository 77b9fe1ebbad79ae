"""OPC UA values as the stream carries them: plain JSON, status kept raw, device time in microseconds; no vendor types.

Rules: null where the status is Bad; a float that is not finite is null with BadEncodingError (inside an array only
that element, flagged substituted); DateTime is RFC 3339; bytes are base64; text that is not Unicode is replaced and
flagged; a structure whose type is unknown is `{"type": NodeId, "body": base64}`.
"""

import base64
import dataclasses
import math
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from assets.fields import Value
from assets.frame import Flag
from assets.reading import Reading
from assets.status import BAD_ENCODING_ERROR, OVERFLOW, is_bad

UA_NAMESPACE: Final = "http://opcfoundation.org/UA/"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_NO_TIME_FROM: Final = datetime(9999, 1, 1, tzinfo=UTC)
_FIRST_TIME: Final = datetime(1601, 1, 2, tzinfo=UTC)
_PLAIN: Final = frozenset({bool, int, type(None)})
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_FORM: Final = re.compile(r"(?:nsu=(?P<uri>[^;]+);|ns=(?P<index>\d+);)?(?P<kind>[isgb])=(?P<id>.+)", re.DOTALL)


class NodeAddress(NamedTuple):
    """A node by the URI of its namespace, never by the index, which a server may change with every restart."""

    uri: str
    identifier: int | str | bytes | uuid.UUID


def parse_node(text: str) -> NodeAddress:
    """Read `nsu=URI;s=NAME` (also i=, g=, b=), or `i=NUMBER` for nodes of the standard.

    >>> parse_node("nsu=urn:acme:press;s=Press01.Temperature")
    NodeAddress(uri='urn:acme:press', identifier='Press01.Temperature')
    """
    match = _FORM.fullmatch(text.strip())
    if not match:
        raise ValueError(f'expected a NodeId such as "nsu=urn:acme:press;s=Press01.Temperature"; it is "{text}"')
    if int(match["index"] or 0) > 0:
        raise ValueError(f'write the namespace as nsu=URI: its index ({match["index"]}) may change; it is "{text}"')
    uri = re.sub("%3B|%25", lambda escaped: unquote(escaped[0]), match["uri"] or UA_NAMESPACE, flags=re.IGNORECASE)
    try:
        return NodeAddress(uri, _IDENTIFIERS[match["kind"]](match["id"]))
    except ValueError:
        form = {"i": "a number below 2^32", "g": "a GUID", "b": "base64"}[match["kind"]]
        raise ValueError(f'{match["kind"]}= must be {form}; it is "{match["id"]}"') from None


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise ValueError
    return int(text)


_IDENTIFIERS: Final[dict[str, Callable[[str], int | str | bytes | uuid.UUID]]] = {
    "i": _number,
    "s": str,
    "g": uuid.UUID,
    "b": lambda text: base64.b64decode(text, validate=True),
}


def instant_us(stamp: datetime | None) -> int | None:
    """Microseconds since 1970; the sentinels of 1601, 1970 and 9999 and anything before 1970 mean no time."""
    if stamp is None:
        return None
    stamp = stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
    us = (stamp - _EPOCH) // _US
    return us if us > 0 and stamp < _NO_TIME_FROM else None


def reading_of(address: str, data: Any, flags: int = 0) -> Reading:
    """The reading of a DataValue."""
    status = data.StatusCode.value if data.StatusCode is not None else 0
    if status & OVERFLOW == OVERFLOW:
        flags |= Flag.OVERFLOW
    time = instant_us(data.SourceTimestamp)
    if is_bad(status) or data.Value is None:
        return Reading(address, None, status, time, int(flags))
    value = data.Value.Value
    if type(value) in _PLAIN:
        return Reading(address, value, status, time, int(flags))
    if type(value) is float:
        if math.isfinite(value):
            return Reading(address, value, status, time, int(flags))
        return Reading(address, None, BAD_ENCODING_ERROR, time, int(flags))
    substituted = Substitutions()
    value = substituted.plain(value)
    return Reading(address, value, status, time, int(flags | Flag.SUBSTITUTED if substituted.any else flags))


class Substitutions:
    """Turns a value into plain JSON and remembers whether anything had to be replaced."""

    def __init__(self) -> None:
        self.any = False

    def plain(self, value: Any) -> Value:
        """The value as null, bool, number, text, list or dict."""
        if type(value) in _PLAIN:
            return value  # type: ignore[no-any-return]
        for kind, convert in _CONVERSIONS:
            if isinstance(value, kind):
                return convert(self, value)
        by_name = _VENDOR.get(type(value).__name__)
        if by_name:
            return by_name(self, value)
        if dataclasses.is_dataclass(value):
            return {f.name.rstrip("_"): self.plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return self.text(str(value))

    def text(self, value: str) -> str:
        """Unicode; lone surrogates, which no writer could encode, become the replacement character."""
        if value.isascii() or not _SURROGATE.search(value):
            return value
        self.any = True
        return _SURROGATE.sub("�", value)

    def number(self, value: float) -> float | None:
        """A finite number, else null."""
        if math.isfinite(value):
            return value
        self.any = True
        return None


def _date_text(value: datetime) -> str | None:
    value = value if value.tzinfo else value.replace(tzinfo=UTC)
    return value.isoformat().replace("+00:00", "Z") if value >= _FIRST_TIME else None


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


_CONVERSIONS: Final[tuple[tuple[type, Callable[[Substitutions, Any], Value]], ...]] = (
    (Enum, lambda s, v: s.plain(v.value)),
    (str, Substitutions.text),
    (float, Substitutions.number),
    (int, lambda _, v: int(v)),
    (list, lambda s, v: [s.plain(element) for element in v]),
    (tuple, lambda s, v: [s.plain(element) for element in v]),
    (datetime, lambda _, v: _date_text(v)),
    (bytes, lambda _, v: _base64(v)),
    (uuid.UUID, lambda _, v: str(v)),
)
_VENDOR: Final[dict[str, Callable[[Substitutions, Any], Value]]] = {
    "LocalizedText": lambda s, v: s.plain(v.Text),
    "QualifiedName": lambda s, v: s.plain(v.Name),
    "StatusCode": lambda _, v: int(v.value),
    "Variant": lambda s, v: s.plain(v.Value),
    "DataValue": lambda s, v: s.plain(v.Value),
    "XmlElement": lambda s, v: s.plain(v.Value),
    "ExtensionObject": lambda s, v: {"type": s.text(v.TypeId.to_string()), "body": _base64(v.Body)},
    **dict.fromkeys(
        ("NodeId", "ExpandedNodeId", "TwoByteNodeId", "FourByteNodeId", "NumericNodeId", "StringNodeId"),
        lambda s, v: s.text(v.to_string()),
    ),
}
"""The client library's own types, by name, so that this file needs no client."""
