#!/usr/bin/env python
"""Count how often control returns to a file, for a config, a checkpoint and a dataset folder.

These three travellers are followed through our files while a tool runs, by the calls that take them
as an argument: a whole config on its way to mmengine's Runner, a checkpoint on its way to a
prediction, and the folder of a dataset on its way to a new config. Their own methods do not count.
A stay in a file ends where another of our files is called with the traveller; a return is a stay in
a file that it had left. A call that is repeated counts once. A training ends where the Runner would
begin.

Examples:
    python tools/measure/journeys.py
    python tools/measure/journeys.py --root ANOTHER_CHECKOUT --each
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
TRAVELLERS = ('config', 'checkpoint', 'folder')


class Journey:
    """Records a traveller's stays in the files of a checkout, as `sys.setprofile` tells them.

    Args:
        root: The checkout.
        traveller: One of `TRAVELLERS`.
        place: Path of the checkpoint, or of the folder.

    Attributes:
        stays: The files, each with the function that it was entered by.
    """

    def __init__(self, root: Path, traveller: str, place: str) -> None:
        self._roots = (f'{root / "mbv2_backbone"}{os.sep}', f'{root / "tools"}{os.sep}')
        self._start = len(str(root)) + 1
        self._is_it = dict(
            config=self._is_config, checkpoint=self._is_checkpoint, folder=self._is_folder
        )[traveller]
        self._place = place
        self._seen: set[tuple] = set()
        self.stays: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, _arg: object) -> None:
        """Note a call that takes the traveller along."""
        code = frame.f_code
        if event != 'call' or not code.co_filename.startswith(self._roots):
            return
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        # What a comprehension iterates over is no argument of a function.
        if code.co_name.startswith('<') or not any(
            name != 'self' and self._is_it(frame.f_locals.get(name)) for name in names
        ):
            return
        caller = frame.f_back
        call = (caller.f_code, caller.f_lineno, code)
        file = code.co_filename[self._start :]
        if call not in self._seen and (not self.stays or self.stays[-1][0] != file):
            self.stays.append((file, code.co_name))
        self._seen.add(call)

    @property
    def num_returns(self) -> int:
        """The number of stays in a file that had been left."""
        return len(self.stays) - len({file for file, _ in self.stays})

    @staticmethod
    def _is_config(value: object) -> bool:
        return type(value).__name__ == 'Config'

    def _is_checkpoint(self, value: object) -> bool:
        """Check whether a value is the path, the weights that were read, or the model with them."""
        if isinstance(value, (str, os.PathLike)):
            return os.fspath(value) == self._place
        if isinstance(value, dict) and value:
            return type(next(iter(value.values()))).__name__ == 'Tensor' or 'state_dict' in value
        return any(kind.__name__ == 'BaseModel' for kind in type(value).__mro__)

    def _is_folder(self, value: object) -> bool:
        """Check whether a value is the folder, or the dataset that was found in it."""
        if isinstance(value, (str, os.PathLike)):
            return os.fspath(value).rstrip(os.sep) == self._place
        return type(value).__name__ in ('Dataset', 'ImageSet')  # today and in older checkouts


def follow(root: Path, traveller: str, place: str, command: Sequence[str]) -> Journey:
    """Run a tool in this process and return its traveller's journey."""
    journey = Journey(root, traveller, place)
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


def commands(root: Path, folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Return the path and the command of each traveller; create what the commands need."""
    checkpoint, sample = str(folder / 'epoch_1.pth'), root / 'data' / 'sample'
    if not sample.is_dir():
        _run(root, 'tools/data.py', 'sample')
    train = ['tools/train.py', CONFIG, '--work-dir', str(folder), '--cfg-options', *SMALL]
    _run(root, *train)
    image = str(next((sample / 'JPEGImages').glob('val_*.jpg')))
    predict = ['tools/predict.py', CONFIG, checkpoint, image, '--out', str(folder / 'out')]
    new = ['tools/new_config.py', '--data', str(sample), '--task', 'det']
    return dict(
        config=('', train),
        checkpoint=(checkpoint, predict),
        folder=(str(sample), [*new, '--out', str(folder / 'mine.py')]),
    )


def _run(root: Path, *command: str) -> str:
    """Run a script of the checkout; return what it says on standard error."""
    environment = os.environ | dict(PYTHONPATH=str(root))
    done = subprocess.run(
        [sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f'{command[0]} failed:\n{done.stderr}')
    return done.stderr


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--root', type=Path, default=ROOT, help='a checkout (default: this one)')
    parser.add_argument('--each', action='store_true', help='print each stay')
    parser.add_argument('--follow', nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    root = args.root.resolve()
    if args.follow:
        traveller, place, *command = args.follow
        journey = follow(root, traveller, place, command)
        files = {file for file, _ in journey.stays}
        print(f'JOURNEY {journey.num_returns} returns, {len(files)} files', file=sys.stderr)
        for file, function in journey.stays:
            print(f'JOURNEY   {file} {function}', file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        for traveller, (place, command) in commands(root, Path(folder)).items():
            call = [__file__, '--root', str(root), '--follow', traveller, place, *command]
            told = [
                line.removeprefix('JOURNEY ')
                for line in _run(root, *call).splitlines()
                if line.startswith('JOURNEY')
            ]
            print(f'{traveller}: ' + '\n'.join(told if args.each else told[:1]))


if __name__ == '__main__':
    main(parse_args())
