"""What a flow could not use goes to `dead-letters`: the original bytes, with reason and origin in the headers.

The id of a dead letter is its flow, step, origin and reason, so a restart that meets the record again skips it.
"""

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from assets.batch import Outgoing, Rejected


def dead_letter(rejected: Rejected, flow: str, step: str) -> Outgoing:
    """The record of a dead letter."""
    identity = f"{flow}:{step}:{rejected.origin}:{rejected.reason}"
    headers = {
        "flow": flow,
        "step": step,
        "reason": rejected.reason,
        "detail": rejected.detail,
        "origin": rejected.origin,
    }
    encoded = [(name, text.encode(errors="replace")) for name, text in headers.items()]
    return Outgoing(rejected.partition, rejected.key, rejected.raw, identity, encoded)


@operator
def dead_letters(
    step_id: str,
    up: KeyedStream[list[Rejected]],
    flow: str,
    step: str,
) -> KeyedStream[list[Outgoing]]:
    """The dead letters of one step of a flow."""
    return op.map_value("records", up, lambda some: [dead_letter(each, flow, step) for each in some])
