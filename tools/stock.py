#!/usr/bin/env python
"""Run a tool of mmdet or mmseg itself, such as their test.py, after our preparation."""

import argparse

from common import run

USAGE = 'stock.py [-h] [--list] {mmdet,mmseg} TOOL ...'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage=USAGE,
        description=__doc__,
        epilog='`stock.py mmdet test --help` shows the arguments of a tool.',
    )
    parser.add_argument('--list', action='store_true', help='list the available tools')
    parser.add_argument(
        'command',
        nargs=argparse.REMAINDER,
        help='toolbox, tool and the arguments of the tool; with --list, a toolbox',
    )
    args = parser.parse_args()
    if args.command[1:] == ['--list']:
        args.list = True
    elif not args.list and len(args.command) < 2:
        parser.error('name a toolbox and a tool, or give --list')
    return args


def main(args: argparse.Namespace) -> None:
    from toolbox_scripts import TOOLBOXES, describe, run_stock

    if args.list:
        print(describe(args.command[:1] or TOOLBOXES))
    else:
        toolbox, name, *rest = args.command
        run_stock(toolbox, name, rest)


if __name__ == '__main__':
    run(main, parse_args())
