#!/usr/bin/env python
"""Export a model for another runtime, and verify that it predicts the same.

The file takes the uint8 RGB image of its size, (N, H, W, 3); mbv2_backbone.deploy.Predictor runs it
on any image. Exit code 1: the export differs from PyTorch, and was not written.

Examples:
    python tools/export.py configs/ssdlite_mbv2_sample.py epoch_20.pth --to onnx
    python tools/export.py configs/ssdlite_mbv2_sample.py epoch_20.pth --to openvino --int8
"""

import argparse
import sys

from common import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint, `best` or `last`')
    parser.add_argument(
        '--to',
        required=True,
        choices=(
            'onnx',
            'openvino',
            'litert',
            'ncnn',
            'coreml',
            'web',
            'web-file',
            'torch-export',
            'executorch',
        ),
        help='format of the file',
    )
    parser.add_argument('--out', default='exported', help='output folder (default: %(default)s)')
    parser.add_argument(
        '--int8',
        nargs='?',
        const='default',
        choices=('default', 'strict'),
        help='also write an 8-bit file, and measure both; strict (litert): all tensors have 8 bits',
    )
    outputs = parser.add_mutually_exclusive_group()
    outputs.add_argument(
        '--nms',
        action='store_true',
        help='final boxes, masks and probabilities (default where the format has NMS)',
    )
    outputs.add_argument(
        '--raw',
        action='store_true',
        help='scores, decoded boxes and logits (default for torch-export and executorch)',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='input size of the exported model in pixels (default: what the config resizes to)',
    )
    parser.add_argument(
        '--dynamic-batch', action='store_true', help='take any number of images in a call'
    )
    parser.add_argument(
        '--precision',
        choices=('float16', 'float32'),
        help='of the network in the file (default: float16 for coreml, else float32)',
    )
    parser.add_argument(
        '--images', type=int, default=8, help='images to compare on (default: %(default)s)'
    )
    parser.add_argument(
        '--calibration-images',
        type=int,
        default=300,
        help='training images to calibrate 8 bits on (default: %(default)s)',
    )
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help='config overrides')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mbv2_backbone.workbench.api import export

    result = export(
        args.config,
        args.checkpoint,
        to=args.to,
        out=args.out,
        is_raw=True if args.raw else False if args.nms else None,
        int8=args.int8 or False,
        size=tuple(args.size) if args.size else None,
        dynamic_batch=args.dynamic_batch,
        precision=args.precision,
        num_images=args.images,
        num_calibration=args.calibration_images,
        cfg_options=args.cfg_options,
    )
    print(result, file=sys.stderr if result.problems() else None)
    if result.problems():
        sys.exit(1)


if __name__ == '__main__':
    run(main, parse_args())
