#!/usr/bin/env python
"""Convert a MobileNetV2 checkpoint of any known layout, and report what was loaded.

Examples:
    python tools/convert_weights.py torchvision://mobilenet_v2 mbv2.pth --verify
    python tools/convert_weights.py mobilenet_v2.weights.h5 mbv2_tf.pth
    python tools/convert_weights.py work_dirs/det/epoch_24.pth tv.pth --to torchvision
"""

import argparse
import sys
from dataclasses import replace

from common import run

RELATIVE_TOLERANCE = 1e-4


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'src',
        metavar='SRC',
        help='a .pth, .pt, .safetensors, .h5 or .keras file, or http(s)://, torchvision://, '
        'timm://, open-mmlab://',
    )
    parser.add_argument('dst', metavar='DST', help='a .pth, .pt or .safetensors file to write')
    parser.add_argument(
        '--to',
        choices=('mmdet', 'torchvision', 'timm'),
        default='mmdet',
        help='layout of DST; mmdet is also that of MobileNetV2Backbone (default: %(default)s)',
    )
    parser.add_argument('--prefix', help='prefix of the backbone in SRC if it holds several')
    parser.add_argument(
        '--verify',
        action='store_true',
        help='rebuild both networks in their own libraries and compare every tap',
    )
    parser.add_argument(
        '--allow-pickle',
        action='store_true',
        help='let SRC run arbitrary code on loading; only if you trust its author',
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    from mbv2_backbone.common.messages import UserError

    try:
        differences = convert_file(args)
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        raise UserError(str(error)) from error
    if differences is not None:
        print_differences(differences)


def convert_file(args: argparse.Namespace) -> dict[str, tuple[float, float]] | None:
    from mbv2_backbone.weights.checkpoint_files import read_checkpoint
    from mbv2_backbone.weights.convert import convert
    from mbv2_backbone.weights.save import save
    from mbv2_backbone.weights.sources import fetch

    path = fetch(args.src)
    checkpoint = read_checkpoint(path, allow_pickle=args.allow_pickle)
    converted, report = convert(checkpoint, prefix=args.prefix)
    save(converted, report, args.dst, to=args.to)
    print(replace(report, source=args.src))
    print(f'Wrote {args.dst} in the layout of {args.to}.')
    if not args.verify:
        return None
    from original_networks import compare_files

    return compare_files(path, args.dst, prefix=args.prefix, allow_pickle=args.allow_pickle)


def print_differences(differences: dict[str, tuple[float, float]]) -> None:
    print(f'{"tap":15} {"largest difference":>18} {"largest value":>14}')
    for tap, (difference, value) in differences.items():
        print(f'{tap:15} {difference:18.2e} {value:14.2e}')
    wrong = [tap for tap, (d, v) in differences.items() if not d <= RELATIVE_TOLERANCE * v]
    if wrong or not differences:
        print(f'The networks differ at {", ".join(wrong) or "every tap"}.', file=sys.stderr)
        sys.exit(1)
    print(f'The networks agree at all {len(differences)} taps.')


if __name__ == '__main__':
    run(main, parse_args())
