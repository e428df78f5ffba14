#!/usr/bin/env python
"""Evaluate a checkpoint with the metrics of its config."""

import argparse

from common import add_run_flags, build_parser, run


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint, `best`, `last`, or an exported file')
    add_run_flags(parser)
    parser.add_argument(
        '--out', help='predictions: a .pkl file (boxes, image classes) or a folder for masks'
    )
    parser.add_argument('--show-dir', help='folder for images with the predictions drawn')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation: a flipped copy')
    parser.add_argument(
        '--tta-scales',
        nargs='+',
        type=float,
        default=(),
        metavar='SCALE',
        help='test-time augmentation at these scales (1 is the size of the config), each also '
        'flipped',
    )
    parser.add_argument(
        '--no-report', action='store_true', help='write no report.html into WORK_DIR/report'
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mbv2_backbone.workbench.api import evaluate

    evaluate(
        args.config,
        args.checkpoint,
        work_dir=args.work_dir,
        out=args.out,
        show_dir=args.show_dir,
        tta=args.tta,
        tta_scales=args.tta_scales,
        report=not args.no_report,
        channels_last=args.channels_last,
        cfg_options=args.cfg_options,
        launcher=args.launcher,
        explain=args.explain,
    )


if __name__ == '__main__':
    run(main, parse_args())
