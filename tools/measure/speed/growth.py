"""Time and peak memory of a training step, for varying batch, image size and width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from .memory import peak_of_step
from .steps import StepJob, StepProcess, run_step
from .timing import quartiles, time_in_turn

LABELS = dict(batch_size='batch', size='image side (px)', width='width')
MEASURED = {'median ms': 'time', 'step MiB': 'memory'}


def growth_rows(
    job: StepJob, series: Mapping[str, Sequence], peers: Sequence[str], *, rounds: int
) -> list[dict]:
    """Measure ours and the peers at each point, each in a process of its own.

    One thing changes at a time. The steps that memory is measured in are the warm-up of the timed
    ones, which alternate.

    Args:
        job: The step of ours, which `series` changes.
        series: Values of `batch_size`, `size` and `width` of a job.
        peers: Of `mmdet`.
        rounds: Timed steps of each.

    Returns:
        One row per point and model: `series`, `value`, `by`, `name`, `median ms` and `step MiB`,
        the peak over what there was before the first step.

    Raises:
        UserError: If a process dies.
    """
    return [
        row
        for field, values in series.items()
        for value in values
        for row in _rows_at(replace(job, **{field: value}), field, value, peers, rounds)
    ]


def _rows_at(
    job: StepJob, field: str, value: object, peers: Sequence[str], rounds: int
) -> list[dict]:
    """Measure one point; its processes end with this call."""
    processes = {who: StepProcess(replace(job, who=who)) for who in ('ours', *peers)}
    peaks = {who: process.ask(peak_of_step) for who, process in processes.items()}
    calls = {who: partial(process.ask, run_step) for who, process in processes.items()}
    at = value[0] if field == 'size' else value
    rows = []
    for who, seconds in time_in_turn(calls, rounds=rounds, warmup=0).items():
        measured = (1000 * quartiles(seconds)['median'], peaks[who]['step'])
        row = dict(series=field, value=at, by=who, name=f'{field} {at}, {who}')
        rows.append(row | dict(zip(MEASURED, measured, strict=True)))
    return rows


def curves(rows: Sequence[dict], field: str, column: str) -> dict[str, np.ndarray]:
    """Return the points `(N, 2)` of a series, value and what was measured, by model."""
    return {
        who: np.array(
            [(r['value'], r[column]) for r in rows if (r['series'], r['by']) == (field, who)]
        )
        for who in dict.fromkeys(row['by'] for row in rows)
    }


def verdict(rows: Sequence[dict]) -> str:
    """Describe how time and memory grow, and how many times ours the peers take.

    A slope is the exponent: 1 in proportion, 2 with the square; a least-squares line through the
    logarithms.
    """
    found = []
    for column, what in MEASURED.items():
        for field in dict.fromkeys(row['series'] for row in rows):
            points = curves(rows, field, column)
            slopes = [
                f'{who} {np.polyfit(*np.log(curve.T), 1)[0]:.2f}' for who, curve in points.items()
            ]
            ours = points.pop('ours')[:, 1]
            ratios = [
                f'{who} takes {min(curve[:, 1] / ours):.2f} to {max(curve[:, 1] / ours):.2f} times'
                for who, curve in points.items()
            ]
            found.append(f'{what} over {LABELS[field]}: {", ".join(slopes + ratios)}')
    return f'slope of the logarithms, {"; ".join(found)}'


def plot(rows: Sequence[dict], path: str, title: str) -> None:
    """Draw time and memory against batch, size and width, on logarithmic axes, into a file."""
    import matplotlib as mpl

    mpl.use('Agg')
    from matplotlib import pyplot as plt

    fields = list(dict.fromkeys(row['series'] for row in rows))
    shape = (len(MEASURED), len(fields))
    figure, grid = plt.subplots(
        *shape, figsize=(11, 6), sharex='col', sharey='row', squeeze=False, layout='constrained'
    )
    for line, column in zip(grid, MEASURED, strict=True):
        for axes, field in zip(line, fields, strict=True):
            for who, curve in curves(rows, field, column).items():
                axes.plot(*curve.T, 'o-', label=who)
            axes.set(xscale='log', yscale='log')
            axes.set_xticks(curve[:, 0], [f'{value:g}' for value in curve[:, 0]])
            axes.minorticks_off()
            axes.grid(visible=True, which='both', alpha=0.3)
        line[0].set_ylabel(column)
    for axes, field in zip(grid[-1], fields, strict=True):
        axes.set_xlabel(LABELS[field])
    grid[0, 0].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)
