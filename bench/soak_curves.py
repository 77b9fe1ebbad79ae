"""Memory of every flow and lag of every view over time, and their picture."""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from assets.connection import KafkaConnection
from deploy.pipeline import Pipeline
from deploy.progress import ProgressWatch

SAMPLE_EVERY_S: Final = 1.0
STOP_TIMEOUT_S: Final = 10.0

Sample = dict[str, Any]


class Curves:
    """Takes a sample each second, in a thread, for as long as it is entered."""

    def __init__(self, kafka: KafkaConnection, pipeline: Pipeline, began: float) -> None:
        self.samples: list[Sample] = []
        self._pipeline = pipeline
        self._began = began
        self._watch = ProgressWatch(kafka)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="curves", daemon=True)

    def __enter__(self) -> Self:
        self._watch.__enter__()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)
        self._watch.__exit__(kind, value, tb)

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            self.samples.append(self._sample())

    def _sample(self) -> Sample:
        rss = {}
        for name, flow in self._pipeline.flows.items():
            usage = flow.usage() if flow.running else None
            rss[name] = None if usage is None or not usage.rss_bytes else round(usage.rss_bytes / 1e6, 1)
        now = self._watch.now
        at = round(time.monotonic() - self._began, 1)
        return {"at": at, "rss_mb": rss, "lag": None if now.problem else dict(now.lag)}


def draw(samples: list[Sample], faults: list[tuple[float, str]], file: Path) -> None:
    """Write the picture: memory above, lag below, a line for each fault."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 9), layout="constrained")
    FigureCanvasAgg(figure)
    memory, lag = figure.subplots(2, 1, sharex=True)
    times = [sample["at"] for sample in samples]
    for axes, key, label in ((memory, "rss_mb", "resident memory, MB"), (lag, "lag", "lag, records")):
        for name in sorted({name for sample in samples for name in sample[key] or ()}):
            axes.plot(times, [(sample[key] or {}).get(name, float("nan")) for sample in samples], label=name)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left")
        for at, _ in faults:
            axes.axvline(at, color="grey", linewidth=0.6, linestyle=":")
    memory.set_ylim(bottom=0)
    lag.set_yscale("symlog", linthresh=10)
    lag.set_ylim(bottom=0)
    lag.set_xlabel("seconds")
    for at, name in faults if len(faults) <= MOST_NAMES else ():
        lag.text(at, 1.01, name, transform=lag.get_xaxis_transform(), rotation=90, fontsize=6, va="bottom")
    figure.savefig(file, dpi=110)


MOST_NAMES: Final = 60
"""More faults than this are only lines: their names would cover each other."""
