"""Draw the training curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .logs import curve, keys_of
from .style import LINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LINES = 8
# Metrics of one class: mmdet's `coco/disc_precision`, mmseg's `IoU/disc` and `seg/IoU/disc`.
_OF_A_CLASS = ('IoU/', 'Acc/', 'Dice/', 'Fscore/', 'Precision/', 'Recall/')
_NO_METRICS = ('time', 'data_time', 'memory')


def panels(rows: Sequence[dict]) -> list[tuple[str, list[str], bool]]:
    """Group the values of `read_scalars` into plots: title, names, whether on a log axis."""
    training = keys_of(rows, is_val=False)
    found = [('loss', [key for key in training if 'loss' in key], True)]
    metrics: dict[str, list[str]] = {}
    for key in keys_of(rows, is_val=True):
        is_mean = not key.endswith('_precision') and not any(part in key for part in _OF_A_CLASS)
        if is_mean and key not in _NO_METRICS and any(y >= 0 for y in curve(rows, key)[1]):
            metrics.setdefault(key.rpartition('/')[0], []).append(key)
    found += [(f'validation {group}'.strip(), keys, False) for group, keys in metrics.items()]
    found.append(('learning rate', [key for key in training if key.endswith('lr')], False))
    return [(title, keys[:MAX_LINES], by_log) for title, keys, by_log in found if keys]


def draw_curves(rows: Sequence[dict]) -> Figure | None:
    """Draw losses, validation metrics and learning rates; `None` if there are no values."""
    from matplotlib.figure import Figure

    shown = panels(rows)
    if not shown:
        return None
    columns = min(len(shown), 2)
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.4 * lines), layout='constrained')
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axis, (title, keys, by_log) in zip(axes, shown, strict=False):
        _draw_panel(axis, rows, title, keys, by_log)
    for axis in axes[len(shown) :]:
        axis.remove()
    return figure


def _draw_panel(
    axis: Axes, rows: Sequence[dict], title: str, keys: Sequence[str], by_log: bool
) -> None:
    lowest = []
    for key, style in zip(keys, LINES, strict=False):
        x, y = curve(rows, key)
        marker = 'o' if len(x) < 40 else None
        axis.plot(x, y, label=key.rpartition('/')[2], marker=marker, markersize=3, **style)
        lowest += y
    if by_log and lowest and min(lowest) > 0:
        axis.set_yscale('log')
    axis.set_title(title)
    axis.set_xlim(0, 1.02 * rows[-1]['iter'] or None)
    axis.set_xlabel('iteration')
    axis.grid(alpha=0.3)
    axis.legend(fontsize='small')
