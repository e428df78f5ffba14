"""Plots of the report: precision-recall curves and confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .style import LINES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CURVES = 6  # more curves in a plot cannot be told apart
_MAX_NUMBERS = 12  # with more classes, the numbers are left out of the matrix


def draw_precision(curves: Mapping) -> Figure:
    """Draw the precision over the recall of each class.

    Args:
        curves: `recall`, and `precision` by name of the class; of many classes only the worst are
            labelled.
    """
    from matplotlib.figure import Figure

    recall, classes = curves['recall'], curves['precision']
    named = sorted(classes, key=lambda name: sum(classes[name]))[:MAX_CURVES]
    figure = Figure(figsize=(6.4, 4.6), layout='constrained')
    axis = figure.subplots()
    for name in classes.keys() - set(named):
        axis.plot(recall, classes[name], color='gray', alpha=0.4, linewidth=0.7)
    if len(classes) > 1:
        mean = np.mean(list(classes.values()), axis=0)
        axis.plot(recall, mean, color='black', linewidth=2.4, label='mean over classes')
    for name, style in zip([n for n in classes if n in named], LINES, strict=False):
        axis.plot(recall, classes[name], label=_plain(name), **style)
    axis.set(xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    axis.legend(fontsize='small')
    return figure


def draw_confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Figure:
    """Draw a confusion matrix, with each row divided by its sum.

    Args:
        names: Names of the rows (ground truth) and of the columns (prediction).
        counts: `(N, N)`.
    """
    from matplotlib.figure import Figure

    shares = share_of_row(counts)
    side = float(np.clip(0.5 * len(names) + 2, 4.4, 12))
    figure = Figure(figsize=(side + 0.8, side), layout='constrained')
    axis = figure.subplots()
    image = axis.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    size = float(np.clip(260 / len(names), 3, 10))
    ticks = range(len(names))
    axis.set_xticks(ticks, map(_plain, names), rotation=90, fontsize=size)
    axis.set_yticks(ticks, map(_plain, names), fontsize=size)
    axis.set(xlabel='prediction', ylabel='truth')
    if len(names) <= _MAX_NUMBERS:
        for row, column in np.ndindex(shares.shape):
            share = shares[row, column]
            text, colour = f'{share:.2f}', 'white' if share > 0.5 else 'black'
            axis.text(column, row, text, ha='center', va='center', color=colour, fontsize=size)
    figure.colorbar(image, ax=axis, shrink=0.8, label='share of the row')
    return figure


def share_of_row(counts: Sequence[Sequence[int]]) -> np.ndarray:
    """Divide a confusion matrix by the sums of its rows; empty rows are 0."""
    counts = np.asarray(counts, float)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def _plain(name: str) -> str:
    """Keep matplotlib from reading a name as a formula."""
    return name.replace('$', r'\$')
