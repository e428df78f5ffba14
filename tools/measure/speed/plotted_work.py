"""The kinds of work that also draw a plot: scaling, growth and endurance."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import Machine
from mbv2_backbone.workbench.configs.read import task_of

from .conditions import set_threads
from .models import input_size
from .request import Results, load_request, plot_errors, requested_peers
from .results import make_result


def scaling(args: Namespace) -> Results:
    """Plot time against multiply-adds."""
    from .scaling import plot, scaling_rows, slopes, verdict

    cfg, machine = load_request(args)
    set_threads(args.threads)
    size = input_size(cfg, args.size)
    rows = scaling_rows(cfg, machine, size=size, rounds=args.rounds, warmup=args.warmup)
    return _plotted(
        'scaling',
        args,
        machine,
        rows,
        plot,
        title=f'backbone, {machine.device}',
        settings=dict(size=size, rounds=args.rounds),
        notes=[verdict(slopes(rows))],
    )


def growth(args: Namespace) -> Results:
    """Plot time and memory of a training step against batch, image size and width.

    Raises:
        UserError: If the config is no detector, or the points are too few or too small.
    """
    from .growth import growth_rows, plot, verdict
    from .steps import NOTES, ONE_IMAGE, StepJob

    cfg, machine = load_request(args)
    if task_of(cfg) != 'det':
        raise UserError(f'growth is compared with mmdet: it needs a detector, not {args.config}')
    for name, least in dict(batches=1, sizes=32, widths=0.05).items():
        values = getattr(args, name)
        if values and (min(values) < least or len(set(values)) < 2):
            raise UserError(
                f'--{name} must be two or more values of at least {least}, got {values}'
            )
    job = StepJob(
        config=args.config,
        batch_size=args.batch_size,
        size=input_size(cfg, args.size, training=True),
        threads=set_threads(args.threads),
        width=cfg.model.backbone.get('widen_factor', 1.0),
        cfg_options=tuple(args.cfg_options or ()),
        amp=False,
    )
    sizes = [(side, side) for side in args.sizes]
    series = dict(batch_size=args.batches, size=sizes, width=args.widths)
    notes = [*NOTES, *([ONE_IMAGE] if 1 in args.batches else [])]
    rows = growth_rows(job, series, requested_peers(args, cfg, ('mmdet',)), rounds=args.rounds)
    return _plotted(
        'growth',
        args,
        machine,
        rows,
        plot,
        title=f'training step, {machine.device}',
        settings=dict(batch=job.batch_size, size=job.size, rounds=args.rounds),
        notes=[*notes, verdict(rows)],
    )


def endurance(args: Namespace) -> Results:
    """Plot memory and open files over a long run."""
    from .endurance import endurance_rows, plot, verdict

    _, machine = load_request(args)
    with tempfile.TemporaryDirectory() as folder:
        options = [f'work_dir={folder}', *(args.cfg_options or [])]
        rows = endurance_rows(args.config, args.train_tool, options)
    return _plotted(
        'endurance',
        args,
        machine,
        rows,
        plot,
        title=machine.device,
        settings=dict(iterations=rows[-1]['iteration']),
        notes=[verdict(rows)],
        every=max(1, len(rows) // 10),
    )


def _plotted(
    work: str,
    args: Namespace,
    machine: Machine,
    rows: list[dict],
    plot: Callable[[list[dict], str, str], None],
    *,
    title: str,
    settings: dict,
    notes: list[str],
    every: int = 1,
) -> Results:
    """Draw all rows into the plot, whose title begins with the config; return each `every`th."""
    with plot_errors(args.out):
        plot(rows, args.out, f'{Path(args.config).stem}, {title}')
    return [
        make_result(
            work,
            config=args.config,
            machine=machine,
            settings=settings,
            rows=rows[::every],
            notes=[*notes, f'plot in {args.out}'],
        )
    ]
