"""What it costs to start each flow: seconds to its first output, and memory, on the running demo plant."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assets.connection import KafkaConnection
from assets.stream import ASSET_STREAM, state_topic
from deploy.pipeline import FLOWS, Pipeline
from deploy.wait import until
from flows._site import progress_group
from sources.kafka import committed, watermarks

TIMEOUT_S = 60.0


def flow_starts(folder: Path, environment: dict[str, str], say: Callable[[str], None]) -> dict[str, Any]:
    """Per flow the seconds from the start of its process to its first output, and its resident memory (MB)."""
    return {}
