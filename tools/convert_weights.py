#!/usr/bin/env python
"""Convert a MobileNetV2 checkpoint of any known layout, and report what was loaded.

Examples:
    python tools/convert_weights.py torchvision://mobilenet_v2 mbv2.pth --verify
    python tools/convert_weights.py mobilenet_v2.weights.h5 mbv2_tf.pth
    python tools/convert_weights.py work_dirs/det/epoch_24.pth tv.pth --to torchvision
    python tools/convert_weights.py frozen_inference_graph.pb ssdlite.pth \
        --config configs/ssdlite_mbv2_coco_tf.py
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
        help='a .pth, .pt, .safetensors, .h5, .keras, .pb, .ckpt or .tflite file, the folder of a '
        'SavedModel, or http(s)://, torchvision://, timm://, open-mmlab://, tensorflow://',
    )
    parser.add_argument('dst', metavar='DST', help='a .pth, .pt or .safetensors file to write')
    parser.add_argument(
        '--to',
        choices=('mmdet', 'torchvision', 'timm'),
        default='mmdet',
        help='layout of DST; mmdet is also that of MobileNetV2Backbone (default: %(default)s)',
    )
    parser.add_argument(
        '--config',
        help="convert a whole model of TensorFlow, SSDLite or DeepLabV3, to this config's; DST is "
        'then a checkpoint for tools/test.py, predict.py, export.py and load_from',
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
        differences = convert_model(args) if args.config else convert_file(args)
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
    try:
        converted, report = convert(checkpoint, prefix=args.prefix)
    except ValueError as error:
        raise ValueError(f'cannot convert {args.src}: {error}') from error
    save(converted, report, args.dst, to=args.to)
    print(replace(report, source=args.src))
    print(f'Wrote {args.dst} in the layout of {args.to}.')
    if not args.verify:
        return None
    from original_networks import compare_files

    return compare_files(path, args.dst, prefix=args.prefix, allow_pickle=args.allow_pickle)


def convert_model(args: argparse.Namespace) -> None:
    import torch
    from mmengine.registry import MODELS

    from mbv2_backbone.common.messages import UserError
    from mbv2_backbone.weights.load import load_into
    from mbv2_backbone.workbench.configs.read import load_config
    from mbv2_backbone.workbench.configs.summary import summarise

    if args.verify or args.prefix or args.to != 'mmdet' or not args.dst.endswith('.pth'):
        raise UserError(
            '--config writes a .pth of a whole model: leave out --verify, --prefix, --to'
        )
    cfg = load_config(args.config)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    report = load_into(model, args.src, allow_pickle=args.allow_pickle)
    if report.filled < len(model.state_dict()):
        raise UserError(f'{args.src} fills only a part of the model of {args.config}: {report}')
    classes = summarise(cfg).boxes or summarise(cfg).masks
    meta = dict(report.origin.to_meta(), dataset_meta=dict(classes=classes.names))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), args.dst)
    print(report)
    print(f'Wrote {args.dst}, a checkpoint of {args.config}.')


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
