"""The progress bar of a long command: on stderr, and only where someone can see it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int], None]
"""Says that so many more records were handled."""
REFRESH_PER_S = 5


@contextmanager
def bar(what: str, total: int, *, shown: bool, now: Callable[[], int] | None = None) -> Iterator[Advance]:
    """A bar from 0 to `total` records; `now` says how far it is, else whoever calls what this gives."""
    console = Console(stderr=True)
    with _progress(console, shown and console.is_terminal, now) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
        if now is not None:
            progress.update(task, completed=now())


class _Watching(Progress):
    """Asks how far things are whenever it is drawn: nothing that is measured has to report."""

    now: Callable[[], int] | None = None

    def get_renderables(self) -> Iterator[object]:  # type: ignore[override]
        """The bars, moved to where things are."""
        if self.now is not None:
            for task in self.tasks:
                self.update(task.id, completed=self.now())
        yield from super().get_renderables()


def _progress(console: Console, shown: bool, now: Callable[[], int] | None) -> _Watching:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = _Watching(*columns, console=console, refresh_per_second=REFRESH_PER_S, disable=not shown)
    progress.now = now
    return progress
