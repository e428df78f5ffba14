#!/usr/bin/env python
"""Find what prevents training in installation, machine and data; exit code 1 if anything does.

Examples:
    python tools/doctor.py
    python tools/doctor.py configs/ssdlite_mbv2_sample.py
"""

import argparse
import sys

from common import start_fast


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='config file, of any task')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help='config overrides')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    try:
        from mbv2_backbone.workbench.doctor.examine import examine_config, examine_installation
    except Exception as error:  # mixed stacks can fail in any way
        print(f'error    {type(error).__name__}: {error}')
        print(f"{'':9}fix: in a new environment, pip install -c constraints.txt -e '.[openmmlab]'")
        sys.exit(1)

    findings = []
    for finding in examine_installation():
        print(finding, flush=True)
        findings.append(finding)
    if args.config:
        for finding in examine_config(args.config, args.cfg_options):
            print(finding, flush=True)
            findings.append(finding)
    errors = sum(finding.level == 'error' for finding in findings)
    warnings = sum(finding.level == 'warning' for finding in findings)
    subject = args.config or 'this installation'
    verdict = f'{subject} cannot train' if errors else f'{subject} can train'
    print(f'{verdict}: {errors} errors, {warnings} warnings')
    sys.exit(1 if errors else 0)


if __name__ == '__main__':
    arguments = parse_args()
    start_fast()
    main(arguments)
