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

from common import run

PEERS = ('mmdet', 'mmseg', 'torchvision', 'timm')
RUNTIMES = ('onnxruntime', 'openvino')
EXPORTED_RUNTIMES = (*RUNTIMES, *(f'{name}-int8' for name in RUNTIMES))


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
        kind.add_argument('config', help='config file, of detection or segmentation')
        kind.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help='config overrides')
        kind.add_argument('--json', metavar='FILE', help='add the result to this file')
        if rounds is not None:
            kind.add_argument('--rounds', type=int, default=rounds, help='how often each is timed')
            kind.add_argument(
                '--warmup', type=int, default=warmup, help='uncounted rounds before that'
            )
        kind.set_defaults(command=measure, batch_size=1)
        return kind

    def add_flags(kind, *names: str, batch_size: int | None = 1, threads: int | None = None):
        if 'peer' in names:
            kind.add_argument(
                '--peer',
                action='append',
                choices=PEERS,
                help='may be given again (default: by task)',
            )
        if 'batch' in names:
            kind.add_argument('--batch-size', type=int, default=batch_size, help='images in a call')
        if 'size' in names:
            kind.add_argument(
                '--size', nargs=2, type=int, metavar=('H', 'W'), help="default: the config's"
            )
        if 'threads' in names:
            kind.add_argument('--threads', type=int, default=threads, help='CPU threads of each')

    complexity = add('complexity', 'parameters, multiply-adds and the share of each part')
    add_flags(complexity, 'peer', 'size')

    backbone = add('backbone', 'the backbone alone, forward', rounds=30, warmup=5)
    add_flags(backbone, 'peer', 'batch', 'size', 'threads')
    backbone.add_argument(
        '--runtimes', nargs='+', choices=RUNTIMES, default=[], help='also export it to these'
    )

    train = add('train', 'a whole training step', rounds=10)
    add_flags(train, 'peer', 'batch', 'size', 'threads', batch_size=None)
    train.add_argument(
        '--peak-memory', action='store_true', help='measure peak memory instead of time'
    )
    train.add_argument(
        '--profile', action='store_true', help='show which operators of ours take the time'
    )
    train.add_argument(
        '--peer-channels-last', action='store_true', help='time the peers in that format, too'
    )
    train.add_argument(
        '--keep-freed-memory',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='in ours, as tools/train.py does on a CPU; without it, all run in one process',
    )
    train.add_argument(
        '--amp', action=argparse.BooleanOptionalAction, help='as for tools/train.py, for ours'
    )

    data = add('data', 'the training pipeline, from file to tensor', rounds=10, warmup=1)
    add_flags(data, 'peer', 'threads', threads=1)
    data.add_argument('--files', type=int, default=64, help='images that each round loads')
    data.add_argument(
        '--images', metavar='FOLDER', help="JPEG files to load instead of the config's data"
    )

    predict = add('predict', 'from an image in memory to boxes or masks', rounds=30, warmup=5)
    add_flags(predict, 'peer', 'batch', 'size', 'threads')
    predict.add_argument(
        '--candidates', type=int, default=300, help='boxes above the threshold in an image'
    )
    predict.add_argument(
        '--runtimes', nargs='+', choices=EXPORTED_RUNTIMES, default=[], help='export it to these'
    )
    predict.add_argument(
        '--exported', nargs='+', metavar='FILE', default=[], help='files of tools/export.py, too'
    )

    evaluate = add('evaluate', "COCO's metrics on generated detections", rounds=3, warmup=0)
    add_flags(evaluate, 'threads', threads=1)
    evaluate.add_argument('--images', type=int, default=5000, help='images')
    evaluate.add_argument('--detections', type=int, default=100, help='detections in an image')

    startup = add('startup', 'from command to first iteration, and to --help', rounds=3, warmup=1)
    add_flags(startup, 'batch', batch_size=2)

    scaling = add('scaling', 'time against size, batch and width', rounds=15, warmup=3)
    add_flags(scaling, 'size', 'threads')
    scaling.add_argument('--out', required=True, metavar='PNG', help='the plot')

    endurance = add('endurance', 'memory and open files over a whole training run')
    endurance.add_argument('--out', required=True, metavar='PNG', help='the plot')

    table = kinds.add_parser('table', help='a Markdown table of JSON files')
    table.add_argument('files', nargs='+', metavar='FILE', help='what --json wrote')
    table.add_argument(
        '--into', metavar='MD', help='replace what is between <!-- speed:begin --> and :end -->'
    )
    table.add_argument(
        '--brief',
        nargs='*',
        metavar='WORK',
        help='ratios of ours to the peers only, for these kinds of work (default: all)',
    )
    table.set_defaults(command=write_table)

    plan = kinds.add_parser('plan', help='hours and loaders on 1, 8 and 64 GPUs')
    plan.add_argument('files', nargs='+', metavar='FILE', help='results of data and evaluate')
    plan.add_argument('--gpu-images-per-second', type=float, help='of a training step on a GPU')
    plan.add_argument('--cores', type=int, default=16, help='for the loaders of a GPU')
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
        put_between(args.into, 'speed', text)
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
    run(arguments.command, arguments)
