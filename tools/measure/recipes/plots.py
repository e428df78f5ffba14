"""Plot the records: metric over epochs and over multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from mbv2_backbone.workbench.report.style import LINES, save_figure

from .groups import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELS = {'coco/bbox_mAP': 'mAP (0.5:0.95)', 'mIoU': 'mIoU in %'}


def save_plots(groups: dict[str, list[Group]], folder: str) -> list[Path]:
    """Draw two PNG files for each dataset.

    Args:
        groups: As `read_groups` returns them.
        folder: Where they go.

    Returns:
        The files.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = []
    for data, found in groups.items():
        for what, draw in (('epochs', draw_epochs), ('madds', draw_madds)):
            paths.append(Path(folder, f'accuracy_{data.lower()}_{what}.png'))
            save_figure(draw(data, found), paths[-1])
    return paths


def draw_epochs(data: str, groups: Sequence[Group]) -> Figure:
    """Draw the mean over seeds at each validation, with a band from lowest to highest."""
    figure = _figure()
    axis = figure.subplots()
    for group, style in zip(groups, cycle(LINES), strict=False):
        epochs, values = curves_of(group)
        means = [mean(at) for at in values]
        axis.plot(epochs, means, marker='o', markersize=3, label=_label(group), **style)
        low, high = map(min, values), map(max, values)
        axis.fill_between(epochs, list(low), list(high), color=style['color'], alpha=0.18)
    axis.set(title=data, xlabel='epochs (passes over the images)', ylabel=_LABELS[groups[0].metric])
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    figure.legend(loc='outside lower center', fontsize='small', ncols=2)
    return figure


def curves_of(group: Group) -> tuple[list[float], list[list[float]]]:
    """Return the epochs at which all seeds were validated, and the metric of each seed there."""
    by_seed = [
        {found['epochs']: found[group.metric] for found in record['validations']}
        for record in group.records
    ]
    epochs = sorted(set.intersection(*map(set, by_seed)))
    return epochs, [[found[epoch] for found in by_seed] for epoch in epochs]


def draw_madds(data: str, groups: Sequence[Group]) -> Figure:
    """Draw the last metric over the multiply-adds, a bar from lowest to highest seed."""
    figure = _figure()
    axis = figure.subplots()
    for group, style in zip(groups, cycle(LINES), strict=False):
        values = group.values(group.metric)
        middle = mean(values)
        axis.errorbar(
            group.first['madds'] / 1e9,
            middle,
            yerr=[[middle - min(values)], [max(values) - middle]],
            fmt='o',
            color=style['color'],
            markerfacecolor='white' if style['linestyle'] != '-' else style['color'],
            capsize=4,
            label=_label(group),
        )
    axis.set(title=data, xlabel='multiply-adds in 10⁹', ylabel=_LABELS[groups[0].metric])
    madds = [group.first['madds'] for group in groups]
    if max(madds) > 5 * min(madds):
        from matplotlib.ticker import LogFormatter

        axis.set_xscale('log')
        axis.xaxis.set_major_formatter('{x:g}')
        axis.xaxis.set_minor_formatter(LogFormatter())  # 20, where the default has 2 x 10^1
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3, which='both')
    figure.legend(loc='outside lower center', fontsize='small', ncols=2)
    return figure


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(7.2, 5.6), layout='constrained')


def _label(group: Group) -> str:
    count = len(group.records)
    return f'{group.name} ({count} seed{"s" if count > 1 else ""})'
