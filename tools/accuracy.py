#!/usr/bin/env python
"""Compare recipes: train with several seeds, record the metrics, make tables and plots.

Examples:
    python tools/accuracy.py run configs/baselines/ssdlite_mmdet_bccd.py --seeds 0 1
    python tools/accuracy.py table docs/accuracy --into docs/accuracy.md
    python tools/accuracy.py plot docs/accuracy --out docs/pictures
    python tools/accuracy.py weights mediapipe-objectron-0.4.1675468480.tgz
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import run

REFERENCES = ('ssdlite_mmdet_bccd', 'deeplabv3_mmseg_camvid')
CLASSES = ('RBC', 'WBC', 'Platelets', 'pole', 'pedestrian')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar='COMMAND', required=True)

    def add(name: str, description: str, function) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=description,
            description=description[0].upper() + description[1:] + '.',
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        command.set_defaults(command=function)
        return command

    train = add('run', 'train a config with each seed; finished runs are skipped', run_seeds)
    train.add_argument('config', help='config file, of any task')
    train.add_argument(
        '--seeds', nargs='+', type=int, default=[0, 1], help='one training run per seed'
    )
    train.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help='config overrides')
    train.add_argument('--name', help="name of the run in the table (default: the config's)")
    train.add_argument('--out', default='docs/accuracy', help='folder of the JSON files')
    train.add_argument(
        '--work-dirs', default='work_dirs/accuracy', help='folder of logs and checkpoints'
    )
    train.add_argument(
        '--amp',
        action=argparse.BooleanOptionalAction,
        default=False,
        help='mixed precision; off, as in all records',
    )

    table = add('table', 'Markdown tables of the JSON files', write_table)
    table.add_argument('folder', help='folder of the JSON files')
    table.add_argument(
        '--into',
        metavar='MD',
        help='replace what is between <!-- MARK:begin --> and <!-- MARK:end -->',
    )
    table.add_argument('--mark', default='accuracy', help='name in these marks')
    table.add_argument(
        '--reference', nargs='+', default=REFERENCES, help='runs to compare with, one per dataset'
    )
    table.add_argument(
        '--classes', nargs='+', default=CLASSES, help='classes with rows of their own'
    )

    plot = add('plot', 'mAP over epochs and over multiply-adds, from the JSON files', write_plots)
    plot.add_argument('folder', help='folder of the JSON files')
    plot.add_argument('--out', default='docs/pictures', help='folder of the PNG files')

    weights = add(
        'weights', 'extract pretrained weights from a TensorFlow Lite detector', write_weights
    )
    weights.add_argument('model', help="a .tflite, or the .tgz of 'npm pack @mediapipe/objectron'")
    weights.add_argument(
        '--images',
        default='data/CamVid/train',
        help='folder of images for the statistics of the batch norms',
    )
    weights.add_argument('--out', default='data/mobilenet_v2_oidv4.pth', help='file to write')
    return parser.parse_args()


def run_seeds(args: argparse.Namespace) -> None:
    from measure.recipes.job import Job
    from measure.recipes.train_seeds import name_of, run_seeds

    options = tuple(args.cfg_options or ())
    job = Job(
        name=name_of(args.config, options, args.name),
        config=args.config,
        options=options,
        flags=('--amp' if args.amp else '--no-amp',),
        out=args.out,
        work_dirs=args.work_dirs,
    )
    run_seeds(job, args.seeds, Path(__file__).resolve().with_name('train.py'))


def write_table(args: argparse.Namespace) -> None:
    from measure.markdown import put_between
    from measure.recipes.groups import read_groups
    from measure.recipes.table import accuracy_markdown

    text = accuracy_markdown(read_groups(args.folder), args.reference, args.classes)
    if args.into:
        put_between(args.into, args.mark, text)
    else:
        print(text)


def write_plots(args: argparse.Namespace) -> None:
    from measure.recipes.groups import read_groups
    from measure.recipes.plots import save_plots

    for path in save_plots(read_groups(args.folder), args.out):
        print(path)


def write_weights(args: argparse.Namespace) -> None:
    from measure.recipes.pretrained import write_weights

    write_weights(args.model, args.images, args.out)
    print(args.out)


if __name__ == '__main__':
    arguments = parse_args()
    run(arguments.command, arguments)
