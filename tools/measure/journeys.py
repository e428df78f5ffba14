#!/usr/bin/env python
"""Count how often a run of a tool leaves one of our files for another, and comes back.

A return is a place in the code from which a function of another of our files is called: what a
reader who follows the run has to leave and to come back to. A place that is passed many times
counts once; calls of libraries, and from them, count as nothing. A training ends where mmengine's
Runner, built and ready, would begin.

Examples:
    python tools/measure/journeys.py
    python tools/measure/journeys.py --root ANOTHER_CHECKOUT --each
    python tools/measure/journeys.py --run tools/doctor.py configs/ssdlite_mbv2_sample.py
"""

from __future__ import annotations

import argparse
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/ssdlite_mbv2_sample.py'
SMALL = (
    'train_cfg.max_epochs=1',
    'train_dataloader.dataset.indices=8',
    'train_dataloader.batch_size=4',
    'val_dataloader.dataset.indices=4',
)


class Journey:
    """Records the calls between the files of a checkout, as `sys.setprofile` tells them.

    Attributes:
        places: `(file, line, file)`: from where to where; relative to the checkout.
    """

    def __init__(self, root: Path) -> None:
        self._roots = (f'{root / "mbv2_backbone"}{os.sep}', f'{root / "tools"}{os.sep}')
        self._start = len(str(root)) + 1
        self.places: dict[tuple[str, int, str], str] = {}

    def __call__(self, frame: FrameType, event: str, _arg: object) -> None:
        """Note a call from one of our files to another."""
        caller = frame.f_back
        if event != 'call' or caller is None:
            return
        here, there = caller.f_code.co_filename, frame.f_code.co_filename
        is_ours = here.startswith(self._roots) and there.startswith(self._roots)
        if here != there and is_ours and frame.f_code.co_name != '<module>':
            place = (here[self._start :], caller.f_lineno, there[self._start :])
            self.places.setdefault(place, frame.f_code.co_name)

    @property
    def files(self) -> list[str]:
        """The files that were entered, in order of their names."""
        return sorted({file for here, _, there in self.places for file in (here, there)})


def follow(root: Path, command: Sequence[str]) -> Journey:
    """Run a tool in this process and return its journey."""
    journey = Journey(root)
    sys.argv = list(command)
    sys.path[:0] = [str(root / 'tools'), str(root)]
    os.chdir(root)
    from mmengine.runner import Runner

    import mbv2_backbone  # noqa: F401  (makes mmengine and the toolboxes importable)

    Runner.train = lambda _runner: sys.exit(0)
    sys.setprofile(journey)
    try:
        runpy.run_path(str(root / command[0]), run_name='__main__')
    except SystemExit as end:
        if end.code not in (0, None):
            raise
    finally:
        sys.setprofile(None)
    return journey


def journeys(root: Path, folder: Path) -> dict[str, list[str]]:
    """Return the three journeys that are counted; the sample set and a checkpoint are made."""
    checkpoint = folder / 'epoch_1.pth'
    sample = root / 'data' / 'sample'
    if not sample.is_dir():
        _quietly(root, 'tools/data.py', 'sample')
    train = ['tools/train.py', CONFIG, '--work-dir', str(folder), '--cfg-options', *SMALL]
    _quietly(root, *train)
    image = str(next((sample / 'JPEGImages').glob('val_*.jpg')))
    return {
        'config to Runner': train,
        'checkpoint to prediction': [
            *('tools/predict.py', CONFIG, str(checkpoint), image, '--out', str(folder / 'out')),
        ],
        'folder to new config': [
            *('tools/new_config.py', '--data', str(sample), '--task', 'det'),
            *('--out', str(folder / 'mine.py')),
        ],
    }


def _quietly(root: Path, *command: str) -> None:
    environment = os.environ | dict(PYTHONPATH=str(root))
    subprocess.run(
        [sys.executable, *command], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--root', type=Path, default=ROOT, help='a checkout (default: this one)')
    parser.add_argument('--each', action='store_true', help='name each place')
    parser.add_argument('--run', nargs=argparse.REMAINDER, help='a tool of it with its arguments')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    root = args.root.resolve()
    if args.run:
        journey = follow(root, args.run)
        print(f'{len(journey.places)} returns, {len(journey.files)} files', file=sys.stderr)
        if args.each:
            for (here, line, there), name in sorted(journey.places.items()):
                print(f'  {here}:{line} -> {there} {name}', file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, command in journeys(root, Path(folder)).items():
            each = ['--each'] if args.each else []
            call = [sys.executable, __file__, '--root', str(root), *each, '--run', *command]
            environment = os.environ | dict(PYTHONPATH=str(root))
            done = subprocess.run(
                call,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            lines = [
                line
                for line in done.stderr.splitlines()
                if line.startswith('  ') or 'returns' in line
            ]
            print(f'{name}: ' + '\n'.join(lines))


if __name__ == '__main__':
    main(parse_args())
