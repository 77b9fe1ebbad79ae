"""Our derive flow over a bounded stream, with one-second epochs and a recovery store, timed from its first batch.

python -m bench.derive_once TOPIC OUT [RECOVERY]
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
from flows._site import BATCH_RECORDS, GC_THRESHOLDS, Site
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


def main(topic: str, out: str, recovery: Path | None) -> dict[str, float]:
    """Run the flow to the end of the stream."""
    gc.set_threshold(*GC_THRESHOLDS)
    site = Site.from_environment()
    bounds = {p: (low, high) for p, (low, high) in watermarks(site.kafka, topic).items()}
    original = StreamSource.build_part

    def build_part(self: StreamSource, step_id: str, for_part: str, resume_state: int | None) -> object:
        Stopwatch.start()
        return original(self, step_id, for_part, resume_state)

    StreamSource.build_part = build_part  # type: ignore[assignment,method-assign]
    stream = StreamSource(site.kafka, topic, site.stop, bounds=bounds, batch_records=BATCH_RECORDS["derive"])
    state = StreamSink(site.kafka, out, site.stop, resume="prefix")
    letters = StreamSink(site.kafka, "dead-letters", site.stop, resume="ids", flow="bench")
    flow = build(partition_count(site.kafka, topic), stream, state, letters)
    cli_main(
        flow,
        recovery_config=None if recovery is None else store(recovery),
        epoch_interval=timedelta(seconds=1),
    )
    return {"wall_s": time.perf_counter() - Stopwatch.wall, "cpu_s": cpu_s() - Stopwatch.cpu}


def store(folder: Path) -> RecoveryConfig:
    """A new recovery store."""
    folder.mkdir(parents=True)
    init_db_dir(folder, 1)
    return RecoveryConfig(str(folder), backup_interval=timedelta(0))


if __name__ == "__main__":
    topic_name, out_name, *folders = sys.argv[1:]
    print(json.dumps(main(topic_name, out_name, Path(folders[0]) if folders else None)))
