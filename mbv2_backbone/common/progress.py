"""One progress bar for all long-running work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')


def track(
    items: Iterable[T], what: str, *, total: int | None = None, unit: str = ''
) -> Iterator[T]:
    """Yield the items and show a progress bar with rate and remaining time on stderr.

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
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total, rate='')
        for item in items:
            yield item
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            progress.update(task, advance=1, rate=f'{speed:.1f} {unit}/s' if speed else '')
