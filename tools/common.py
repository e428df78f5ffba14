"""Shared parts of the tools, without heavy imports."""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from collections.abc import Callable

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it

BLOCK_CACHE = 'glibc.malloc.tcache_count'
NO_BLOCK_CACHE = f'{BLOCK_CACHE}=0'

# Choices of tools/benchmark.py. The runtimes of exported models: each is a runtime, the format that
# it runs, and the kind of 8 bits.
PEERS = ('mmdet', 'mmseg', 'torchvision', 'timm')
ONNX_RUNTIMES = ('onnxruntime', 'openvino')
EXPORTED_RUNTIMES = {
    'onnxruntime': ('onnxruntime', 'onnx', None),
    'onnxruntime-int8': ('onnxruntime', 'onnx', 'default'),
    'openvino': ('openvino', 'openvino', None),
    'openvino-int8': ('openvino', 'openvino', 'default'),
    'litert': ('litert', 'litert', None),
    'litert-int8': ('litert', 'litert', 'default'),
    'ncnn': ('ncnn', 'ncnn', None),
    'ncnn-int8': ('ncnn', 'ncnn', 'default'),
}


def build_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('config', help='config file, of any task')
    return parser


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that train.py and test.py share with mmdet's."""
    parser.add_argument('--work-dir', help='folder for logs, metrics and checkpoints')
    parser.add_argument(
        '--channels-last',
        action=argparse.BooleanOptionalAction,
        help='memory format of weights and activations (default: on)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='override settings of the config, for example train_cfg.max_epochs=3 classes="(a,b)"',
    )
    parser.add_argument(
        '--explain',
        action='store_true',
        help='print what each step of the plan changes in the config, and do no more',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='job launcher',
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help='set by the launcher'
    )


def restart_without_block_cache() -> None:
    """Start this process anew with glibc's cache of small blocks off, unless it is.

    The cache keeps the ends that are cut off large buffers, which then cannot take a buffer of the
    same size again: without it a training step on a CPU takes a fifth less memory. It can be set
    only before a process starts. Where this is not the script that Python was started with, such as
    in a notebook, nothing happens.
    """
    before = os.environ.get('GLIBC_TUNABLES', '')
    started = {os.path.basename(arg) for arg in sys.orig_argv[1:]}
    is_started = bool(started & {os.path.basename(sys.argv[0]), 'mbv2'})
    if sys.platform != 'linux' or not is_started or BLOCK_CACHE in before:
        return
    os.environ['GLIBC_TUNABLES'] = ':'.join(filter(None, [before, NO_BLOCK_CACHE]))
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)


def start_fast() -> None:
    """Make this process and its child processes load heavy packages only on first use.

    Call it before the package is imported. A 0 set by the user is kept.
    """
    os.environ['MBV2_BACKBONE_FAST_START'] = os.environ.get('MBV2_BACKBONE_FAST_START') or '1'


def run(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Call a tool; an error that the user can fix ends with one message and exit code 2.

    Ctrl-C ends it with a line and exit code 130.
    """
    start_fast()
    if 'local_rank' in args:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    gc.disable()  # imports leave no garbage, and looking for it takes a tenth of their time
    try:
        from mbv2_backbone.common.messages import UserError

        gc.freeze()
    finally:
        gc.enable()
    try:
        main(args)
    except KeyboardInterrupt as stop:
        print(f'\ninterrupted: {stop}'.removesuffix(': '), file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        cause: BaseException | None = error
        # mmengine's registries wrap what a constructor raises in an error of the same type. What
        # ours raise `from` another contains it, and says of which file it is.
        while isinstance(cause.__context__, UserError) and not (
            isinstance(cause, UserError) and cause.__suppress_context__
        ):
            cause = cause.__context__
        if isinstance(error, ModuleNotFoundError) and error.name == 'measure':
            cause = UserError(
                'the measurements are not in the wheel; clone the repository and run '
                f'python tools/{os.path.basename(sys.argv[0])} in the checkout'
            )
        unknown = re.search(
            r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error)
        )
        for option in getattr(args, 'cfg_options', None) or ():
            key = option.partition('=')[0]
            if unknown and key.rpartition('.')[2] == unknown[2]:
                cause = UserError(f'--cfg-options {key}: {unknown[1]} has no argument {unknown[2]}')
        if not isinstance(cause, UserError):
            raise
        print(f'error: {cause}', file=sys.stderr)
        sys.exit(USER_ERROR)
    if getattr(args, 'launcher', 'none') != 'none':
        from mbv2_backbone.compat.prepare import end_joined_process

        end_joined_process()
