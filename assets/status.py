"""The validity of a value as OPC UA StatusCode (Part 4, 7.39): one vocabulary for all protocols.

The upper 16 bits are the code, its upper two the severity (00 good, 01 uncertain, 10 and 11 bad); the lower 16 bits
are information (overflow, limits, history) and take no part in the name. Hex numbers stand in this file only.
"""

from typing import Final, Literal

Severity = Literal["good", "uncertain", "bad"]

GOOD: Final = 0x00000000
GOOD_LOCAL_OVERRIDE: Final = 0x00960000
GOOD_CLAMPED: Final = 0x00300000
GOOD_OVERLOAD: Final = 0x002F0000
GOOD_NO_DATA: Final = 0x00A50000
UNCERTAIN: Final = 0x40000000
UNCERTAIN_INITIAL_VALUE: Final = 0x40920000
UNCERTAIN_LAST_USABLE_VALUE: Final = 0x40900000
UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE: Final = 0x408F0000
UNCERTAIN_ENGINEERING_UNITS_EXCEEDED: Final = 0x40940000
UNCERTAIN_SENSOR_NOT_ACCURATE: Final = 0x40930000
UNCERTAIN_SUB_NORMAL: Final = 0x40950000
UNCERTAIN_SUBSTITUTE_VALUE: Final = 0x40910000
UNCERTAIN_SIMULATED_VALUE: Final = 0x42090000
UNCERTAIN_CONFIGURATION_ERROR: Final = 0x420F0000
BAD: Final = 0x80000000
BAD_UNEXPECTED_ERROR: Final = 0x80010000
BAD_INTERNAL_ERROR: Final = 0x80020000
BAD_COMMUNICATION_ERROR: Final = 0x80050000
BAD_ENCODING_ERROR: Final = 0x80060000
BAD_DECODING_ERROR: Final = 0x80070000
BAD_TIMEOUT: Final = 0x800A0000
BAD_SHUTDOWN: Final = 0x800C0000
BAD_SERVER_NOT_CONNECTED: Final = 0x800D0000
BAD_WAITING_FOR_INITIAL_DATA: Final = 0x80320000
BAD_NO_COMMUNICATION: Final = 0x80310000
BAD_NODE_ID_UNKNOWN: Final = 0x80340000
BAD_NODE_ID_INVALID: Final = 0x80330000
BAD_NOT_READABLE: Final = 0x803A0000
BAD_OUT_OF_RANGE: Final = 0x803C0000
BAD_NOT_SUPPORTED: Final = 0x803D0000
BAD_TYPE_MISMATCH: Final = 0x80740000
BAD_NO_DATA: Final = 0x809B0000
BAD_DATA_LOST: Final = 0x809D0000
BAD_DATA_UNAVAILABLE: Final = 0x809E0000
BAD_CONFIGURATION_ERROR: Final = 0x80890000
BAD_NOT_CONNECTED: Final = 0x808A0000
BAD_DEVICE_FAILURE: Final = 0x808B0000
BAD_SENSOR_FAILURE: Final = 0x808C0000
BAD_OUT_OF_SERVICE: Final = 0x808D0000
BAD_RESOURCE_UNAVAILABLE: Final = 0x80040000
BAD_INVALID_STATE: Final = 0x80AF0000

CODE_MASK: Final = 0xFFFF0000
"""The bits of a status that are its code; the others are information about the value."""
OVERFLOW: Final = 0x00000480
"""Information bits: the value is one of a queue that ran over (InfoType DataValue with Overflow)."""

_BAD_BIT: Final = 0x80000000
_UNCERTAIN_BIT: Final = 0x40000000
_SEVERITY_MASK: Final = 0xC0000000

NAMES: Final = {
    0x00000000: "Good",
    0x00960000: "GoodLocalOverride",
    0x00300000: "GoodClamped",
    0x00A50000: "GoodNoData",
    0x00A60000: "GoodMoreData",
    0x002F0000: "GoodOverload",
    0x00A90000: "GoodCallAgain",
    0x00A20000: "GoodEntryInserted",
    0x00A30000: "GoodEntryReplaced",
    0x40000000: "Uncertain",
    0x40920000: "UncertainInitialValue",
    0x40930000: "UncertainSensorNotAccurate",
    0x420A0000: "UncertainSensorCalibration",
    0x40940000: "UncertainEngineeringUnitsExceeded",
    0x40950000: "UncertainSubNormal",
    0x40900000: "UncertainLastUsableValue",
    0x408F0000: "UncertainNoCommunicationLastUsableValue",
    0x40910000: "UncertainSubstituteValue",
    0x40A40000: "UncertainDataSubNormal",
    0x42090000: "UncertainSimulatedValue",
    0x420F0000: "UncertainConfigurationError",
    0x42080000: "UncertainTransducerInManual",
    0x40DE0000: "UncertainDominantValueChanged",
    0x80000000: "Bad",
    0x80010000: "BadUnexpectedError",
    0x80020000: "BadInternalError",
    0x80030000: "BadOutOfMemory",
    0x80040000: "BadResourceUnavailable",
    0x80050000: "BadCommunicationError",
    0x80060000: "BadEncodingError",
    0x80070000: "BadDecodingError",
    0x80080000: "BadEncodingLimitsExceeded",
    0x80090000: "BadUnknownResponse",
    0x800A0000: "BadTimeout",
    0x800B0000: "BadServiceUnsupported",
    0x800C0000: "BadShutdown",
    0x800D0000: "BadServerNotConnected",
    0x800E0000: "BadServerHalted",
    0x800F0000: "BadNothingToDo",
    0x80100000: "BadTooManyOperations",
    0x801F0000: "BadUserAccessDenied",
    0x80250000: "BadSessionIdInvalid",
    0x80260000: "BadSessionClosed",
    0x80280000: "BadSubscriptionIdInvalid",
    0x80320000: "BadWaitingForInitialData",
    0x80310000: "BadNoCommunication",
    0x80330000: "BadNodeIdInvalid",
    0x80340000: "BadNodeIdUnknown",
    0x80350000: "BadAttributeIdInvalid",
    0x80360000: "BadIndexRangeInvalid",
    0x80370000: "BadIndexRangeNoData",
    0x803A0000: "BadNotReadable",
    0x803B0000: "BadNotWritable",
    0x803C0000: "BadOutOfRange",
    0x803D0000: "BadNotSupported",
    0x803E0000: "BadNotFound",
    0x803F0000: "BadObjectDeleted",
    0x80400000: "BadNotImplemented",
    0x80420000: "BadMonitoredItemIdInvalid",
    0x80440000: "BadMonitoredItemFilterUnsupported",
    0x80740000: "BadTypeMismatch",
    0x80DB0000: "BadTooManyMonitoredItems",
    0x80AE0000: "BadConnectionClosed",
    0x80AC0000: "BadConnectionRejected",
    0x80AD0000: "BadDisconnect",
    0x80AF0000: "BadInvalidState",
    0x80B00000: "BadEndOfStream",
    0x809B0000: "BadNoData",
    0x809D0000: "BadDataLost",
    0x809E0000: "BadDataUnavailable",
    0x80A00000: "BadNoEntryExists",
    0x80890000: "BadConfigurationError",
    0x808A0000: "BadNotConnected",
    0x808B0000: "BadDeviceFailure",
    0x808C0000: "BadSensorFailure",
    0x808D0000: "BadOutOfService",
    0x80AB0000: "BadInvalidArgument",
    0x80E10000: "BadDominantValueChanged",
    0x80BF0000: "BadStateNotActive",
    0x80850000: "BadRequestTimeout",
    0x80B50000: "BadWouldBlock",
    0x80B60000: "BadSyntaxError",
    0x80230000: "BadInvalidTimestamp",
    0x80B90000: "BadResponseTooLarge",
    0x80130000: "BadSecurityChecksFailed",
}


def is_bad(status: int) -> bool:
    """Whether the value cannot be used: it is null."""
    return status & _BAD_BIT != 0


def is_good(status: int) -> bool:
    """Whether the value can be used without reserve."""
    return status & _SEVERITY_MASK == 0


def severity(status: int) -> Severity:
    """The severity of a status, for people and for rules."""
    if status & _BAD_BIT:
        return "bad"
    return "uncertain" if status & _UNCERTAIN_BIT else "good"


def name(status: int) -> str:
    """The standard's name of a status, without its information bits; an uncommon one as hexadecimal number.

    >>> name(0x808C0000), name(0x80FF0000)
    ('BadSensorFailure', '0x80FF0000')
    """
    return NAMES.get(status & CODE_MASK) or f"0x{status & CODE_MASK:08X}"


def same_code(status: int, other: int) -> bool:
    """Whether two statuses differ in nothing but their information bits."""
    return (status ^ other) & CODE_MASK == 0
