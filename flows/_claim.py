"""A flow as the only writer of its view: claimed when all else is in order; it ends when another process claims it."""

import logging
import os

from bytewax.dataflow import Dataflow

from flows._site import EXIT_REFUSED, Site, View
from flows._store import is_first_process
from sinks._claim import Claim

log = logging.getLogger(__name__)


def claimed(site: Site, flow: Dataflow, view: View, generation: int) -> Dataflow:
    """The flow, once its copy's partitions of a view are claimed; the processes of a cluster of the engine are one."""
    if is_first_process():
        Claim(site.kafka, f"{view}.g{generation}", site.copy, site.stop, _end).take()
    return flow


def _end(reason: str) -> None:
    """End at once, as a kill does: whatever waits to be written must not be written, and a restart would not help."""
    log.critical("%s", reason)
    logging.shutdown()
    os._exit(EXIT_REFUSED)
