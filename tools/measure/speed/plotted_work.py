"""The kinds of work that also draw a plot: scaling and endurance."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from pathlib import Path

from .conditions import set_threads
from .models import input_size
from .request import Results, load_request, plot_errors
from .results import make_result


def scaling(args: Namespace) -> Results:
    """Plot time against multiply-adds."""
    from .scaling import plot, scaling_rows, slopes, verdict

    cfg, machine = load_request(args)
    set_threads(args.threads)
    size = input_size(cfg, args.size)
    rows = scaling_rows(cfg, machine, size=size, rounds=args.rounds, warmup=args.warmup)
    with plot_errors(args.out):
        plot(rows, args.out, f'{Path(args.config).stem}, backbone, {machine.device}')
    return [
        make_result(
            'scaling',
            config=args.config,
            machine=machine,
            settings=dict(size=size, rounds=args.rounds),
            rows=rows,
            notes=[verdict(slopes(rows)), f'plot in {args.out}'],
        )
    ]


def endurance(args: Namespace) -> Results:
    """Plot memory and open files over a long run."""
    from .endurance import endurance_rows, plot, verdict

    _, machine = load_request(args)
    with tempfile.TemporaryDirectory() as folder:
        options = [f'work_dir={folder}', *(args.cfg_options or [])]
        rows = endurance_rows(args.config, args.train_tool, options)
    with plot_errors(args.out):
        plot(rows, args.out, f'{Path(args.config).stem}, {machine.device}')
    shown = range(0, len(rows), max(1, len(rows) // 10))
    return [
        make_result(
            'endurance',
            config=args.config,
            machine=machine,
            settings=dict(iterations=rows[-1]['iteration']),
            rows=[rows[i] for i in shown],
            notes=[verdict(rows), f'plot in {args.out}'],
        )
    ]
