"""One function per kind of work, from command line arguments to results."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import task_of

from .agreement import losses
from .conditions import set_threads
from .deployment import deploy
from .gpu import measure_all
from .models import input_size, set_size
from .plotted_work import endurance, growth, scaling
from .request import Results, load_request, requested_peers, timed_result
from .results import make_result
from .step_work import train


def complexity(args: Namespace) -> Results:
    """Count parameters and multiply-adds."""
    from .complexity import complexity_rows

    cfg, machine = load_request(args)
    peers = requested_peers(args, cfg, ('mmdet', 'mmseg', 'torchvision'))
    size = input_size(cfg, args.size)
    return [
        make_result(
            'complexity',
            config=args.config,
            machine=machine,
            settings=dict(size=size),
            rows=complexity_rows(cfg, peers, size),
            notes=[
                "MAdds by mmengine's count; an auxiliary head counts in the parameters of mmseg, "
                'which the shares leave out'
            ],
        )
    ]


def backbone(args: Namespace) -> Results:
    """Time the backbone."""
    from .forward import backbone_calls

    cfg, machine = load_request(args)
    args.peer = args.peer or ['torchvision']
    peers = requested_peers(args, cfg, ('torchvision', 'timm'))
    threads = set_threads(args.threads)
    size = input_size(cfg, args.size)
    calls, notes = backbone_calls(
        cfg,
        peers,
        machine,
        batch_size=args.batch_size,
        size=size,
        runtimes=args.runtimes,
        threads=threads,
    )
    reference = f'{peers[0]}, contiguous'
    settings = dict(batch=args.batch_size, size=size)
    return [
        timed_result(
            args,
            machine,
            calls,
            notes,
            reference=reference,
            batch_size=args.batch_size,
            settle=2,
            **settings,
        )
    ]


def data(args: Namespace) -> Results:
    """Time the training pipeline."""
    from .pipelines import draw_infos, pipeline_calls, read_infos

    cfg, machine = load_request(args)
    if task_of(cfg) == 'joint':
        raise UserError(
            '`data` of a joint config has no peer: no toolbox ships a pipeline for boxes and masks '
            'together; measure the detection or the segmentation config'
        )
    peers = requested_peers(args, cfg, ('mmdet', 'mmseg'))
    set_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        infos = None if args.images else read_infos(cfg, args.files)
        files = "the config's own data"
        if infos is None:
            infos, files = draw_infos(cfg, folder, args.files, args.images)
            if not args.images:
                files = f"the config's data is missing: {files}"
        calls, notes = pipeline_calls(cfg, peers, infos)
        notes = [*notes, files, f'a call loads {len(infos)} files']
        return [
            timed_result(
                args,
                machine,
                calls,
                notes,
                reference=peers[0],
                batch_size=len(infos),
                files=len(infos),
            )
        ]


def predict(args: Namespace) -> Results:
    """Time prediction."""
    from .prediction import prediction_calls

    cfg, machine = load_request(args)
    peers = requested_peers(args, cfg, ('mmdet', 'mmseg', 'torchvision'))
    threads = set_threads(args.threads)
    size = input_size(cfg, args.size)
    if args.size:
        set_size(cfg, size)
    calls, notes = prediction_calls(
        cfg,
        peers,
        machine,
        batch_size=args.batch_size,
        size=size,
        candidates=args.candidates,
        runtimes=args.runtimes,
        exported=args.exported,
        threads=threads,
    )
    settings = dict(batch=args.batch_size, size=size)
    return [
        timed_result(
            args,
            machine,
            calls,
            notes,
            reference=peers[0],
            batch_size=args.batch_size,
            settle=8 if args.batch_size == 1 else 0,
            **settings,
        )
    ]


def evaluate(args: Namespace) -> Results:
    """Time COCO's metrics."""
    from .evaluation import evaluation_calls

    cfg, machine = load_request(args)
    set_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        calls, notes = evaluation_calls(
            cfg, Path(folder), num_images=args.images, detections=args.detections
        )
        return [
            timed_result(
                args,
                machine,
                calls,
                notes,
                reference='mmdet',
                batch_size=args.images,
                images=args.images,
                detections=args.detections,
            )
        ]


def startup(args: Namespace) -> Results:
    """Time the start of training."""
    from .startup import startup_calls

    _, machine = load_request(args)
    with tempfile.TemporaryDirectory() as folder:
        first, helps, notes = startup_calls(
            args.config,
            args.train_tool,
            Path(folder),
            batch_size=args.batch_size,
            overrides=args.cfg_options or (),
        )
        size = args.batch_size
        return [
            timed_result(
                args, machine, first, notes, reference='mmdet', batch=size, batch_size=size
            ),
            timed_result(
                args, machine, helps, notes[:1], reference='mmdet --help', work='help text'
            ),
        ]


def command(args: Namespace) -> Results:
    """Time whole commands."""
    from .commands import command_calls

    cfg, machine = load_request(args)
    if task_of(cfg) not in ('det', 'seg') or len(args.peer or ()) > 1:
        raise UserError(
            '`command` compares a detector with mmdet or a segmentor with mmseg: give such a '
            'config, and --peer once at most'
        )
    (peer,) = requested_peers(args, cfg, ('mmdet', 'mmseg'))
    with tempfile.TemporaryDirectory() as folder:
        timed = command_calls(
            cfg,
            args.config,
            peer,
            Path(folder),
            tool=args.tool,
            num_images=args.images,
            tools=args.train_tool.parent,
            checkouts=args.checkout,
            options=args.options.split(),
        )
        settings = dict(images=args.images) | (dict(options=args.options) if args.options else {})
        if args.split:
            return [
                make_result(
                    f'processor time of {args.tool}.py',
                    config=args.config,
                    machine=machine,
                    settings=settings,
                    rows=timed.split(),
                    notes=timed.notes[:2],
                )
            ]
        result = timed_result(
            args,
            machine,
            timed.calls,
            (),
            reference=peer,
            batch_size=args.images,
            work=f'{args.tool}.py',
            **settings,
        )
        result['notes'] = timed.last_notes(args.rounds)
        return [result]


WORK: dict[str, Callable[[Namespace], Results]] = dict(
    complexity=complexity,
    backbone=backbone,
    train=train,
    losses=losses,
    gpu=measure_all,
    data=data,
    predict=predict,
    deploy=deploy,
    evaluate=evaluate,
    startup=startup,
    command=command,
    scaling=scaling,
    growth=growth,
    endurance=endurance,
)
