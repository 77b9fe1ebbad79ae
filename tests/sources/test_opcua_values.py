import math
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua

from assets.fields import Value
from assets.frame import Flag
from assets.reading import Reading
from assets.status import BAD_ENCODING_ERROR, UNCERTAIN_INITIAL_VALUE
from sources._opcua_values import instant_us, parse_node, reading_of

NOON = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
NOON_US = 1795176000123456


def read(value: Any, status: int = 0, time: datetime | None = None) -> Reading:
    variant = value if isinstance(value, ua.Variant) else ua.Variant(value)
    return reading_of("a", ua.DataValue(variant, StatusCode=ua.StatusCode(status), SourceTimestamp=time))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (True, True),
        (1.5, 1.5),
        (2**63 - 1, 2**63 - 1),
        (ua.Variant(2**64 - 1, ua.VariantType.UInt64), 2**64 - 1),
        ("Grüße", "Grüße"),
        (b"\x00\xff", "AP8="),
        (NOON, "2026-11-20T12:00:00.123456Z"),
        (datetime(1601, 1, 1, tzinfo=UTC), None),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([1, 2], [1, 2]),
        (ua.Variant([[1, 2], [3, 4]], ua.VariantType.Int32), [[1, 2], [3, 4]]),
        (ua.LocalizedText("Presse", "de"), "Presse"),
        (ua.QualifiedName("Speed", 2), "Speed"),
        (ua.NodeId("x", 2), "ns=2;s=x"),
        (ua.StatusCode(0x80340000), 0x80340000),
        (ua.ServerState.Running, 0),
        (ua.Range(0.0, 10.0), {"Low": 0.0, "High": 10.0}),
        (ua.ExtensionObject(ua.NodeId(7, 2), b"\x01"), {"type": "ns=2;i=7", "body": "AQ=="}),
        (None, None),
    ],
)
def test_a_value_of_every_kind_is_plain(value: Any, plain: Value) -> None:
    assert read(value) == Reading("a", plain)


def test_a_status_is_kept_with_its_information_bits_and_a_bad_value_is_null() -> None:
    assert read(1.5, 0x40920000) == Reading("a", 1.5, UNCERTAIN_INITIAL_VALUE)
    assert read(1.5, 0x80340000) == Reading("a", None, 0x80340000)
    assert read(1.5, 0xC0) == Reading("a", 1.5, 0xC0)
    assert read(1.5, 0x480) == Reading("a", 1.5, 0x480, None, Flag.OVERFLOW)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_and_bad(number: float) -> None:
    assert read(number) == Reading("a", None, BAD_ENCODING_ERROR)
    assert read([1.0, number]) == Reading("a", [1.0, None], 0, None, Flag.SUBSTITUTED)


def test_text_that_is_not_unicode_is_replaced_and_says_so() -> None:
    assert read("a\udcffb") == Reading("a", "a�b", 0, None, Flag.SUBSTITUTED)


@pytest.mark.parametrize(
    ("stamp", "us"),
    [
        (NOON, NOON_US),
        (NOON.replace(tzinfo=None), NOON_US),
        (None, None),
        (datetime(1601, 1, 1, tzinfo=UTC), None),
        (datetime(1970, 1, 1, tzinfo=UTC), None),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), None),
        (datetime(2099, 1, 1, tzinfo=UTC), 4070908800000000),
    ],
)
def test_an_instant_is_exact_and_a_sentinel_is_none(stamp: datetime | None, us: int | None) -> None:
    assert instant_us(stamp) == us
    assert read(1, time=stamp).source_time == us


def test_a_node_is_named_by_the_uri_of_its_namespace() -> None:
    assert parse_node("nsu=urn:acme:press;s=Press01.Temperature") == ("urn:acme:press", "Press01.Temperature")
    assert parse_node('nsu=http://siemens.com/s7;s="DB1"."a;b=c"') == ("http://siemens.com/s7", '"DB1"."a;b=c"')
    assert parse_node("nsu=urn:a%3Bb%25;i=7") == ("urn:a;b%", 7)
    assert parse_node("i=2258") == parse_node("ns=0;i=2258") == ("http://opcfoundation.org/UA/", 2258)
    assert parse_node("nsu=urn:a;b=AP8=").identifier == b"\x00\xff"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Press01", 'expected a NodeId such as "nsu=urn:acme:press;s=Press01.Temperature"; it is "Press01"'),
        ("ns=2;s=a", 'write the namespace as nsu=URI: its index (2) may change; it is "ns=2;s=a"'),
        ("i=x", 'i= must be a number below 2^32; it is "x"'),
        ("g=1", 'g= must be a GUID; it is "1"'),
        ("b=?", 'b= must be base64; it is "?"'),
    ],
)
def test_a_refused_node_says_why(text: str, error: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_node(text)
    assert str(refused.value) == error
