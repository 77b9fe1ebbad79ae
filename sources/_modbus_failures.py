"""How a Modbus request can fail: how far that reaches, the status its values get, and why, in words."""

from enum import Enum
from typing import Final, NamedTuple

from assets.status import (
    BAD_CONFIGURATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_SUPPORTED,
    BAD_RESOURCE_UNAVAILABLE,
)


class Scope(Enum):
    """How far a failure reaches."""

    ADDRESS = "the device refuses an address in the request, and will refuse it again"
    BLOCK = "the answer does not belong to the request"
    UNIT = "the unit does not answer, or says it cannot"
    CONNECTION = "there is no connection"


class Failure(Exception):
    """A request without a usable answer: how far that reaches, the status of the values, and why, in words."""

    def __init__(self, scope: Scope, status: int, cause: str) -> None:
        super().__init__(cause)
        self.scope, self.status, self.cause = scope, status, cause


class _Meaning(NamedTuple):
    scope: Scope
    status: int
    words: str


EXCEPTIONS: Final = {
    1: _Meaning(Scope.ADDRESS, BAD_NOT_SUPPORTED, "function not supported"),
    2: _Meaning(Scope.ADDRESS, BAD_NODE_ID_UNKNOWN, "no such address"),
    3: _Meaning(Scope.ADDRESS, BAD_CONFIGURATION_ERROR, "length or value refused"),
    4: _Meaning(Scope.UNIT, BAD_DEVICE_FAILURE, "device failure"),
    5: _Meaning(Scope.UNIT, BAD_RESOURCE_UNAVAILABLE, "request takes long"),
    6: _Meaning(Scope.UNIT, BAD_RESOURCE_UNAVAILABLE, "device busy"),
    8: _Meaning(Scope.UNIT, BAD_DEVICE_FAILURE, "memory parity error"),
    0x0A: _Meaning(Scope.UNIT, BAD_NO_COMMUNICATION, "gateway has no path to the unit"),
    0x0B: _Meaning(Scope.UNIT, BAD_NO_COMMUNICATION, "unit does not answer its gateway"),
}
"""What the exception codes mean (Modbus Application Protocol 1.1b3, section 7) and the status they give."""

_UNKNOWN: Final = _Meaning(Scope.UNIT, BAD_DEVICE_FAILURE, "unknown exception")


def refusal(code: int) -> Failure:
    """The failure that an exception code of the device means.

    >>> refusal(2).cause
    'no such address (exception 2)'
    """
    meaning = EXCEPTIONS.get(code, _UNKNOWN)
    return Failure(meaning.scope, meaning.status, f"{meaning.words} (exception {code})")
