#!/usr/bin/env python
"""Predict on images, folders, globs and videos; draw the results and write predictions.json."""

import argparse

from common import build_parser, run


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint, `best`, `last`, or an exported file')
    parser.add_argument('inputs', nargs='*', help='images, folders, globs, videos')
    parser.add_argument('--out', default='predictions', help='output folder')
    parser.add_argument('--score-thr', type=float, default=0.3, help='minimum score of a box')
    parser.add_argument('--batch-size', type=int, help='images at a time (default: 8; 1 for masks)')
    parser.add_argument('--no-draw', action='store_true', help='write predictions.json only')
    parser.add_argument(
        '--reduced',
        action='store_true',
        help='decode large JPEG files at a fraction of their size: faster, slightly other scores',
    )
    parser.add_argument(
        '--features',
        action='store_true',
        help='also draw the feature maps for each image, and a heatmap for each class',
    )
    parser.add_argument(
        '--serve',
        action='store_true',
        help='open a web page that predicts on the images dropped on it',
    )
    parser.add_argument('--host', default='127.0.0.1', help='address that --serve listens on')
    parser.add_argument(
        '--port', type=int, default=7860, help='port for --serve; 0 picks a free one'
    )
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help='config overrides')
    args = parser.parse_args()
    if not args.inputs and not args.serve:
        parser.error('give inputs, or --serve')
    return args


def main(args: argparse.Namespace) -> None:
    if args.inputs:
        predict_files(args)
    if args.serve:
        from mbv2_backbone.workbench.serve import serve

        serve(
            args.config,
            args.checkpoint,
            host=args.host,
            port=args.port,
            score_thr=args.score_thr,
            cfg_options=args.cfg_options,
        )


def predict_files(args: argparse.Namespace) -> None:
    from mbv2_backbone.workbench.api import predict

    done = predict(
        args.config,
        args.checkpoint,
        args.inputs,
        out=args.out,
        score_thr=args.score_thr,
        batch_size=args.batch_size,
        draw=not args.no_draw,
        features=args.features,
        reduced=args.reduced,
        cfg_options=args.cfg_options,
    )
    print(done)


if __name__ == '__main__':
    run(main, parse_args())
