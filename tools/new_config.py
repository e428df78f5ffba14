#!/usr/bin/env python
"""Write a config that trains on your own dataset.

Examples:
    python tools/new_config.py --data data/BCCD --task det
    python tools/new_config.py --data data/sample --task both --out configs/mine.py --width 0.5
    python tools/new_config.py --data data/sample/sample_crops
"""

from __future__ import annotations

import argparse

from common import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', required=True, metavar='FOLDER', help='dataset folder')
    parser.add_argument(
        '--task',
        choices=('det', 'seg', 'both', 'cls'),
        help='detect boxes, segment, do both with one backbone, or classify whole images (default: '
        'what the annotations are for)',
    )
    parser.add_argument(
        '--out', help='config to write (default: in configs, named after the folder)'
    )
    parser.add_argument('--force', action='store_true', help='overwrite an existing config')
    parser.add_argument(
        '--layout',
        choices=('coco', 'voc', 'masks'),
        help='format to read, if a folder has several (default: the one that suits the task)',
    )
    parser.add_argument('--size', type=int, help='longer side of the input in pixels')
    parser.add_argument('--width', type=float, default=1.0, help='width multiplier of the backbone')
    parser.add_argument('--epochs', type=int, help='passes over the training images')
    parser.add_argument(
        '--pretrained',
        metavar='FILE',
        help='trained weights to start from, a file or an address; none: from scratch '
        '(default: the best published ones that can be fetched)',
    )
    parser.add_argument(
        '--mask-classes',
        metavar='FILE',
        help='names of the mask values, one per line (default: classes.txt in the folder)',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mbv2_backbone.workbench.api import new_config

    new = new_config(**vars(args))
    print(f'{new}\n')
    print(f'python tools/train.py {new.path}')
    print(f'python tools/test.py {new.path} {new.checkpoint}')
    print(f'python tools/predict.py {new.path} {new.checkpoint} IMAGES')


if __name__ == '__main__':
    run(main, parse_args())
