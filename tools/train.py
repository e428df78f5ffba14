#!/usr/bin/env python
"""Train a detector, a segmentor, both in one or a classifier."""

import argparse

from common import add_run_flags, build_parser, restart_without_block_cache, run


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__)
    add_run_flags(parser)
    parser.add_argument(
        '--amp',
        action=argparse.BooleanOptionalAction,
        help='mixed precision (default: on if the GPU or CPU multiplies in bfloat16)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate to the real batch size by the config's auto_scale_lr",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint; without a value, from the newest in --work-dir',
    )
    parser.add_argument(
        '--track',
        nargs='+',
        choices=('wandb', 'mlflow'),
        default=(),
        help='trackers that receive losses and metrics, in addition to TensorBoard and curves.png',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mbv2_backbone.workbench.api import train

    train(
        args.config,
        work_dir=args.work_dir,
        amp=args.amp,
        channels_last=args.channels_last,
        auto_scale_lr=args.auto_scale_lr,
        resume=args.resume,
        track=args.track,
        cfg_options=args.cfg_options,
        launcher=args.launcher,
        explain=args.explain,
    )


if __name__ == '__main__':
    args = parse_args()
    restart_without_block_cache()
    run(main, args)
