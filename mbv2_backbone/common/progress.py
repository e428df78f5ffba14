"""One progress bar for all long-running work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TypeVar

from .notebook import Output

T = TypeVar('T')
_REDRAW_SECONDS = 0.5  # in a notebook, where each time is a message to the browser


def track(
    items: Iterable[T], what: str, *, total: int | None = None, unit: str = ''
) -> Iterator[T]:
    """Yield the items and show a progress bar with rate and remaining time.

    It is on stderr, in a notebook below the cell.

    Args:
        items: What to iterate over.
        what: Text before the bar: what is being done.
        total: Number of items, if `items` has no length.
        unit: What one item is; shown after the rate.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if total is None and hasattr(items, '__len__'):
        total = len(items)
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('{task.fields[rate]}'),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    # In a notebook rich needs ipywidgets to redraw by itself.
    output = Output() if progress.console.is_jupyter else None
    drawn = 0.0
    with nullcontext() if output else progress:
        task = progress.add_task(what, total=total, rate='')
        for item in items:
            yield item
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            progress.update(task, advance=1, rate=f'{speed:.1f} {unit}/s' if speed else '')
            if output and time.monotonic() - drawn > _REDRAW_SECONDS:
                output.show(progress)
                drawn = time.monotonic()
    if output:
        output.show(progress)
