#!/usr/bin/env python
"""Predict on images, folders, globs and videos: pictures and one predictions.json."""

import argparse

from common import build_parser, run


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint of the whole model, or an exported file')
    parser.add_argument('inputs', nargs='+', help='images, folders, globs, videos')
    parser.add_argument('--out', default='predictions', help='output folder')
    parser.add_argument('--score-thr', type=float, default=0.3, help='least score of a box')
    parser.add_argument('--batch-size', type=int, help='images at a time (default: 8, masks: 1)')
    parser.add_argument('--no-draw', action='store_true', help='write predictions.json only')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help='config overrides')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mbv2_backbone.engine.predict import predict

    summary = predict(
        args.config,
        args.checkpoint,
        args.inputs,
        out=args.out,
        score_thr=args.score_thr,
        batch_size=args.batch_size,
        draw=not args.no_draw,
        cfg_options=args.cfg_options,
    )
    for path in summary.unreadable:
        print(f'skipped, cannot be read as an image: {path}')
    for path, fps in summary.video_fps.items():
        print(f'{path}: {fps:.1f} frames/s')
    print(
        f'{summary.num_predictions} predictions on {summary.num_images} images in '
        f'{summary.predictions}, pictures beside it'
    )


if __name__ == '__main__':
    run(main, parse_args())
