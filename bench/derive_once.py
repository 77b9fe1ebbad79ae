"""Our derive flow over a bounded stream, with a recovery store and one-second epochs, timed from its first batch.

python -m bench.derive_once TOPIC OUT RECOVERY
"""

import gc
import json
import sys
import time
from datetime import timedelta
from pathlib import Path

from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.raw import cpu_s
from flows._site import GC_THRESHOLDS, Site
from flows.derive import build
from sinks.kafka import StreamSink
from sources.kafka import StreamSource, partition_count, watermarks


class Stopwatch:
    """Notes when the first frame was handled."""

    wall = 0.0
    cpu = 0.0

    @classmethod
    def start(cls) -> None:
        """The first time counts."""
        if not cls.wall:
            cls.wall, cls.cpu = time.perf_counter(), cpu_s()


def main(topic: str, out: str, recovery: Path) -> dict[str, float]:
    """Run the flow to the end of the stream."""
    gc.set_threshold(*GC_THRESHOLDS)
    site = Site.from_environment()
    bounds = {p: (low, high) for p, (low, high) in watermarks(site.kafka, topic).items()}
    original = StreamSource.build_part

    def build_part(self: StreamSource, step_id: str, for_part: str, resume_state: int | None) -> object:
        Stopwatch.start()
        return original(self, step_id, for_part, resume_state)

    StreamSource.build_part = build_part  # type: ignore[assignment,method-assign]
    stream = StreamSource(site.kafka, topic, site.stop, bounds=bounds)
    state = StreamSink(site.kafka, out, site.stop, resume="prefix")
    letters = StreamSink(site.kafka, "dead-letters", site.stop, resume="ids", flow="bench")
    recovery.mkdir(parents=True)
    init_db_dir(recovery, 1)
    flow = build(partition_count(site.kafka, topic), stream, state, letters)
    cli_main(
        flow,
        recovery_config=RecoveryConfig(str(recovery), backup_interval=timedelta(0)),
        epoch_interval=timedelta(seconds=1),
    )
    return {"wall_s": time.perf_counter() - Stopwatch.wall, "cpu_s": cpu_s() - Stopwatch.cpu}


if __name__ == "__main__":
    topic_name, out_name, folder = sys.argv[1:]
    print(json.dumps(main(topic_name, out_name, Path(folder))))
