#!/usr/bin/env python
"""Make and handle data sets.

Examples:
    python tools/data.py sample
    python tools/data.py sample --out data/sample_256 --size 256 --num-train 2000
    python tools/data.py unpack VOCtrainval_06-Nov-2007.tar --out data
"""

from __future__ import annotations

import argparse
from functools import partial

from common import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    sample = commands.add_parser(
        'sample',
        help='draw the sample set, in COCO and in VOC layout',
        description='Draw the sample set, in COCO and in VOC layout with masks.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    sample.add_argument('--out', default='data/sample', help='folder to write')
    sample.add_argument('--num-train', type=int, default=600, help='number of training images')
    sample.add_argument('--num-val', type=int, default=100, help='number of held-out images')
    sample.add_argument('--size', type=int, default=192, help='height and width in pixels')
    sample.add_argument('--seed', type=int, default=0, help='the same seed gives the same set')
    sample.add_argument(
        '--force', action='store_true', help='draw again and replace a sample set that is there'
    )
    sample.set_defaults(command=draw_sample)
    unpack = commands.add_parser(
        'unpack',
        help='unpack a zip or tar archive, safely',
        description='Unpack a zip or tar archive; nothing gets out of the folder.',
    )
    unpack.add_argument('archive', help='the file')
    unpack.add_argument('--out', required=True, help='folder to write')
    unpack.add_argument('--sha256', help='the hash that its publisher states')
    unpack.set_defaults(command=unpack_archive)
    return parser.parse_args()


def unpack_archive(args: argparse.Namespace) -> None:
    from mbv2_backbone.data.archives import extract

    print(f'unpacked into {extract(args.archive, args.out, sha256=args.sha256)}')


def draw_sample(args: argparse.Namespace) -> None:
    from mbv2_backbone.data.sample import generate_sample
    from mbv2_backbone.errors import UserError
    from mbv2_backbone.progress import track

    try:
        summary = generate_sample(
            args.out,
            num_train=args.num_train,
            num_val=args.num_val,
            size=args.size,
            seed=args.seed,
            force=args.force,
            track=partial(track, what='Drawing', unit='images'),
        )
    except OSError as error:
        raise UserError(f'cannot write the sample set to {args.out}: {error}') from error
    print(f'{"drew" if summary.is_new else "found, nothing to draw:"} {summary.root}')
    for content, path in summary.paths.items():
        print(f'  {content:24} {path}')
    names = list(next(iter(summary.boxes.values())))
    print(f'{"":8}' + ''.join(f'{title:>10}' for title in ('images', 'empty', *names, 'boxes')))
    for split, boxes in summary.boxes.items():
        row = (summary.images[split], summary.empty[split], *boxes.values(), sum(boxes.values()))
        print(f'{split:8}' + ''.join(f'{number:>10}' for number in row))


if __name__ == '__main__':
    arguments = parse_args()
    run(arguments.command, arguments)
