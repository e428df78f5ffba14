"""The work on a training step: its time, its memory, and where the time goes."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from mbv2_backbone.common.messages import UserError

from .conditions import set_threads
from .models import input_size
from .request import Results, load_request, requested_peers, timed_result
from .results import make_result


def train(args: Namespace) -> Results:
    """Time training steps, measure their memory, or see where their time goes."""
    from .memory import STEPS, memory_rows, num_runs
    from .profile import profile_rows
    from .roofline import roofline_rows
    from .steps import StepJob, StepProcess, training_calls

    cfg, machine = load_request(args)
    peers = requested_peers(args, cfg, ('mmdet', 'mmseg', 'torchvision'))
    is_kept = machine.device == 'cpu' and args.keep_freed_memory
    job = StepJob(
        config=args.config,
        batch_size=args.batch_size or cfg.train_dataloader.batch_size,
        size=input_size(cfg, args.size, training=True),
        threads=set_threads(args.threads),
        cfg_options=tuple(args.cfg_options or ()),
        amp=args.amp,
        keeps_memory=is_kept,
    )
    settings = dict(batch=job.batch_size, size=job.size)
    if machine.device == 'cpu' and not is_kept:
        settings['freed memory'] = 'not kept'
    if machine.precision != 'float32':
        settings['precision'] = machine.precision
    if cfg.get('compile'):
        settings['networks'] = 'compiled'
    if args.profile or args.roofline:
        if args.roofline and machine.device != 'cpu':
            raise UserError('--roofline is of a CPU; on a GPU use --profile')
        what, measure = ('roofline', roofline_rows) if args.roofline else ('profile', profile_rows)
        results = []
        for who in ('ours', *(args.peer or ())):
            rows, notes = StepProcess(replace(job, who=who)).ask(measure)
            results.append(
                make_result(
                    f'{what} of train',
                    config=args.config,
                    machine=machine,
                    settings=settings | dict(of=who),
                    rows=rows,
                    notes=[f'{who}: {note}' for note in notes],
                )
            )
        return results
    if args.peak_memory:
        notes = [
            f'each in its own process, {STEPS} steps, the middle of {num_runs()} processes; `step` '
            'is the peak above what was taken before the first, `peak` is all'
        ]
        return [
            make_result(
                'peak memory of train',
                config=args.config,
                machine=machine,
                settings=settings,
                rows=memory_rows(job, peers),
                notes=notes,
            )
        ]
    calls, notes = training_calls(
        job, peers, own_processes=is_kept, peer_channels_last=args.peer_channels_last
    )
    return [
        timed_result(
            args,
            machine,
            calls,
            notes,
            reference=peers[0],
            batch_size=job.batch_size,
            **settings,
        )
    ]
