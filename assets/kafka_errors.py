"""Which errors of Kafka end by themselves, by the names that its protocol and librdkafka (with `_`) give them."""

from typing import Final

AWAY: Final = frozenset({"_ALL_BROKERS_DOWN", "_AUTHENTICATION", "_RESOLVE", "_SSL", "_TIMED_OUT", "_TRANSPORT"})
"""Errors that end with the outage."""
MOMENTARY: Final = frozenset(
    {
        "LEADER_NOT_AVAILABLE",
        "NOT_LEADER_FOR_PARTITION",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "NOT_COORDINATOR",
        "UNKNOWN_TOPIC_OR_PART",
        "_DESTROY_BROKER",
        "_UNKNOWN_PARTITION",
        "_UNKNOWN_TOPIC",
    }
)
"""Errors of a cluster that is just starting, or moving a partition or making a topic, and of a question that was under
way when the client gave up a broker."""


def outage(name: str, text: str) -> str | None:
    """Why Kafka cannot be reached, if that is what an error says; empty for what passes in a moment.

    >>> outage("_TRANSPORT", "connection refused"), outage("NOT_COORDINATOR", "ask again"), outage("OFFSET", "gone")
    ('connection refused', '', None)
    """
    if name in MOMENTARY:
        return ""
    return text if name in AWAY else None
