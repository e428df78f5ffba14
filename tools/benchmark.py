#!/usr/bin/env python
"""Measure this package and a peer alternately, with equal threads, input and batch size.

Examples:
    python tools/benchmark.py complexity configs/ssdlite_mbv2_coco.py
    python tools/benchmark.py train configs/ssdlite_mbv2_coco.py --json docs/speed.json
    python tools/benchmark.py predict configs/ssdlite_mbv2_coco.py --batch-size 32
    python tools/benchmark.py table docs/speed.json --into docs/speed.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import EXPORTED_RUNTIMES, ONNX_RUNTIMES, PEERS, restart_without_block_cache, run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(metavar='WORK', required=True, dest='work')

    def add(name: str, description: str, rounds: int | None = None, warmup: int = 2):
        kind = kinds.add_parser(
            name,
            help=description,
            description=description[0].upper() + description[1:] + '.',
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        kind.add_argument('config', help='config file')
        kind.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help='config overrides')
        kind.add_argument('--json', metavar='FILE', help='add the result to this file')
        if rounds is not None:
            kind.add_argument(
                '--rounds', type=int, default=rounds, help='timed rounds of each call'
            )
            kind.add_argument(
                '--warmup', type=int, default=warmup, help='untimed rounds before those'
            )
        kind.set_defaults(command=measure, batch_size=1)
        return kind

    def add_flags(kind, *names: str, batch_size: int | None = 1, threads: int | None = None):
        if 'peer' in names:
            kind.add_argument(
                '--peer',
                action='append',
                choices=PEERS,
                help='package to compare with; may be repeated (default: chosen by task)',
            )
        if 'batch' in names:
            kind.add_argument('--batch-size', type=int, default=batch_size, help='images per call')
        if 'size' in names:
            kind.add_argument(
                '--size',
                nargs=2,
                type=int,
                metavar=('H', 'W'),
                help="input size (default: the config's)",
            )
        if 'threads' in names:
            kind.add_argument('--threads', type=int, default=threads, help='CPU threads per model')

    complexity = add('complexity', 'parameters, multiply-adds and the share of each part')
    add_flags(complexity, 'peer', 'size')

    backbone = add('backbone', 'forward pass of the backbone alone', rounds=30, warmup=5)
    add_flags(backbone, 'peer', 'batch', 'size', 'threads')
    backbone.add_argument(
        '--runtimes',
        nargs='+',
        choices=ONNX_RUNTIMES,
        default=[],
        help='runtimes to export the backbone to',
    )

    train = add('train', 'a whole training step', rounds=10)
    add_flags(train, 'peer', 'batch', 'size', 'threads', batch_size=None)
    train.add_argument(
        '--peak-memory', action='store_true', help='measure peak memory instead of time'
    )
    train.add_argument(
        '--profile',
        action='store_true',
        help='show which operators take the time, of ours and of what --peer names',
    )
    train.add_argument(
        '--roofline',
        action='store_true',
        help='show what the operators attain of what the CPU does at most, of ours and of --peer',
    )
    train.add_argument(
        '--peer-channels-last', action='store_true', help='also time the peers in channels_last'
    )
    train.add_argument(
        '--keep-freed-memory',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='keep freed memory in our process, as tools/train.py does on a CPU; without it, all '
        'run in one process',
    )
    train.add_argument(
        '--amp',
        action=argparse.BooleanOptionalAction,
        help='mixed precision of our model, as in tools/train.py',
    )

    losses = add('losses', 'losses on the CPU beside those on the device')
    add_flags(losses, 'batch', 'size', batch_size=4)

    gpu = add('gpu', 'training, losses, step, memory and prediction on a GPU', rounds=10)
    add_flags(gpu, 'batch', 'size', batch_size=None)
    gpu.add_argument(
        '--device', choices=('cuda', 'cpu'), default='cuda', help='cpu: a trial of the command'
    )
    gpu.add_argument(
        '--minutes', type=float, default=8.0, help='of which each part has a fixed share'
    )

    data = add('data', 'the training pipeline, from file to tensor', rounds=10, warmup=1)
    add_flags(data, 'peer', 'threads', threads=1)
    data.add_argument('--files', type=int, default=64, help='images loaded in each round')
    data.add_argument(
        '--images', metavar='FOLDER', help="JPEG files to load instead of the config's data"
    )

    predict = add('predict', 'from an image in memory to its prediction', rounds=30, warmup=5)
    add_flags(predict, 'peer', 'batch', 'size', 'threads')
    predict.add_argument(
        '--candidates', type=int, default=300, help='boxes per image above the score threshold'
    )
    predict.add_argument(
        '--runtimes',
        nargs='+',
        choices=EXPORTED_RUNTIMES,
        default=[],
        help='runtimes to export our model to',
    )
    predict.add_argument(
        '--exported',
        nargs='+',
        metavar='FILE',
        default=[],
        help='also time these files, written by tools/export.py',
    )

    deploy = add('deploy', 'exported files: size, load time, latency, accuracy', 30, 5)
    add_flags(deploy, 'peer', 'size')
    deploy.add_argument(
        '--exported', nargs='+', metavar='FILE', required=True, help='what tools/export.py wrote'
    )
    deploy.add_argument(
        '--thread-counts', type=int, nargs='+', default=[1, 2], help='CPU threads, each in turn'
    )
    deploy.add_argument(
        '--candidates', type=int, default=300, help='boxes above the score threshold in PyTorch'
    )
    deploy.add_argument('--into', metavar='MD', help='write the table there, between its marks')

    evaluate = add('evaluate', "COCO's metrics on generated detections", rounds=3, warmup=0)
    add_flags(evaluate, 'threads', threads=1)
    evaluate.add_argument('--images', type=int, default=5000, help='number of images')
    evaluate.add_argument('--detections', type=int, default=100, help='detections per image')

    startup = add('startup', 'from command to first iteration, and to --help', rounds=3, warmup=1)
    add_flags(startup, 'batch', batch_size=2)

    command = add('command', 'a whole command, from start to end', rounds=3, warmup=1)
    add_flags(command, 'peer')
    command.add_argument('--tool', choices=('test', 'predict'), default='test', help='the command')
    command.add_argument('--images', type=int, default=300, help='images that it reads')
    command.add_argument(
        '--options', default='', help='further arguments of our command, in one string'
    )
    command.add_argument(
        '--checkout',
        action='append',
        default=[],
        metavar='FOLDER',
        help='also run the command of another checkout of this repository; may be repeated',
    )
    command.add_argument(
        '--split', action='store_true', help='show where the time of our command goes instead'
    )

    scaling = add('scaling', 'time against size, batch and width', rounds=15, warmup=3)
    add_flags(scaling, 'size', 'threads')
    scaling.add_argument('--out', required=True, metavar='PNG', help='plot to write')

    growth = add('growth', 'step time and peak memory over batch, image size and width')
    add_flags(growth, 'peer', 'batch', 'size', 'threads', batch_size=4)
    growth.add_argument('--rounds', type=int, default=3, help='timed steps at each point')
    for name, kind, values in (
        ('batches', int, (1, 4, 12, 24, 48)),
        ('sizes', int, (160, 320, 480, 640)),
        ('widths', float, (0.35, 0.5, 1.0, 1.4)),
    ):
        growth.add_argument(
            f'--{name}', type=kind, nargs='*', default=values, help='points; none leaves it out'
        )
    growth.add_argument('--out', required=True, metavar='PNG', help='plot to write')

    endurance = add('endurance', 'memory and open files over a whole training run')
    endurance.add_argument('--out', required=True, metavar='PNG', help='plot to write')

    table = kinds.add_parser('table', help='Markdown table of the results in JSON files')
    table.add_argument('files', nargs='+', metavar='FILE', help='JSON files written by --json')
    table.add_argument(
        '--into', metavar='MD', help='replace what is between <!-- speed:begin --> and :end -->'
    )
    table.add_argument(
        '--brief',
        nargs='*',
        metavar='WORK',
        help="only the ratios of our times to the peers', for these kinds of work (default: all)",
    )
    table.add_argument(
        '--mark', default='speed', metavar='NAME', help='<!-- NAME:begin --> instead of speed'
    )
    table.set_defaults(command=write_table)

    plan = kinds.add_parser('plan', help='estimated hours and loader processes on 1, 8 and 64 GPUs')
    plan.add_argument(
        'files', nargs='+', metavar='FILE', help='JSON files with results of `data` and `evaluate`'
    )
    plan.add_argument(
        '--gpu-images-per-second', type=float, help='speed of a training step on one GPU'
    )
    plan.add_argument('--cores', type=int, default=16, help='CPU cores for the loaders of each GPU')
    plan.add_argument('--into', metavar='MD', help='replace what is between <!-- plan:begin --> …')
    plan.set_defaults(command=write_plan)
    return parser.parse_args()


def measure(args: argparse.Namespace) -> None:
    from measure.speed import results as report
    from measure.speed.work import WORK

    args.train_tool = Path(__file__).resolve().with_name('train.py')
    for result in WORK[args.work](args):
        print(report.format_result(result), end='\n\n')
        if args.json:
            report.append_json(args.json, result)


def write_table(args: argparse.Namespace) -> None:
    from measure.markdown import put_between
    from measure.speed.results import read_json
    from measure.speed.table import brief_table, speed_table

    results = [result for path in args.files for result in read_json(path)]
    text = speed_table(results) if args.brief is None else brief_table(results, args.brief)
    if args.into:
        put_between(args.into, args.mark, text)
    else:
        print(text)


def write_plan(args: argparse.Namespace) -> None:
    from measure.markdown import put_between
    from measure.speed.plan import plan_markdown, read_rates
    from measure.speed.results import read_json

    results = [result for path in args.files for result in read_json(path)]
    text = plan_markdown(*read_rates(results, step=args.gpu_images_per_second, cores=args.cores))
    if args.into:
        put_between(args.into, 'plan', text)
    else:
        print(text)


if __name__ == '__main__':
    arguments = parse_args()
    if getattr(arguments, 'keep_freed_memory', False):
        restart_without_block_cache()  # as tools/train.py does
    run(arguments.command, arguments)
