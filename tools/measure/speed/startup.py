"""Time from the command to the end of the first training iteration, and to the help text."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.compat.prepare import FAST_START
from mbv2_backbone.workbench.configs.machine import detect_machine, fit_machine
from mbv2_backbone.workbench.configs.plan import apply_steps
from mbv2_backbone.workbench.configs.read import datasets_of, load_config, task_of
from mbv2_backbone.workbench.data.sample.sample import generate_sample

from .child import child_environment
from .models import input_size
from .peers import peer_config, toolbox_folder
from .timing import Call

_FIRST_ITERATION = re.compile(r'(Epoch|Iter)\(train\).*loss: ')
_LIMIT = 600  # seconds that a first iteration may take
# mmdet cannot be imported where mmcv has no compiled extension, so ours lends its stand-in.
_LEND = (
    'import mbv2_backbone, runpy, sys; sys.argv.pop(0); '
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
NOTES = (
    'each command is a new process; the first round is not counted, so files are cached',
    'mmdet runs its own tools/train.py on its SSDLite config, at equal size, classes, batch size '
    f'and loader processes, without our faster start ({FAST_START}=0); where mmcv has no compiled '
    "extension it cannot be imported, so mbv2_backbone's replacement is used",
)


def startup_calls(
    config: str, tool: Path, folder: Path, *, batch_size: int, overrides: Sequence[str] = ()
) -> tuple[dict[str, Call], dict[str, Call], list[str]]:
    """Prepare the commands that are timed.

    Args:
        config: A detection config on the sample dataset.
        tool: Our tools/train.py.
        folder: For the sample dataset, mmdet's config and the work directories.
        batch_size: Images in the first iteration.
        overrides: `key=value` of our config.

    Returns:
        Calls to the first iteration, calls to the help text, and notes.

    Raises:
        UserError: If the config is not a detector, mmdet's tool is not installed, or, when called,
            if a command fails.
    """
    cfg = load_config(config, list(overrides) or None)
    if task_of(cfg) != 'det':
        raise UserError(
            f'startup is compared with mmdet: it needs a detection config, not {config}'
        )
    theirs_tool = toolbox_folder('mmdet', 'tools') / 'train.py'
    root = folder / 'sample'
    generate_sample(root, num_train=24, num_val=8, size=128)
    options = [
        f'data_root={root}/',
        f'train_dataloader.batch_size={batch_size}',
        'default_hooks.logger.interval=1',
        f'work_dir={folder / "ours"}',
        *overrides,
    ]
    train = [sys.executable, str(tool), config, '--cfg-options', *options]
    cfg = load_config(config, options)
    cfg = apply_steps(cfg, [fit_machine(detect_machine())])
    theirs = folder / 'mmdet.py'
    _mmdet_config(cfg, folder / 'mmdet').dump(theirs)
    lent = [sys.executable, '-c', _LEND, str(theirs_tool)]
    as_shipped = {FAST_START: '0'}
    first = {
        'ours': lambda: _run_until(train, _FIRST_ITERATION),
        'mmdet': lambda: _run_until([*lent, str(theirs)], _FIRST_ITERATION, as_shipped),
    }
    usage = re.compile('usage: ')
    helps = {
        'ours --help': lambda: _run_until([sys.executable, str(tool), '--help'], usage),
        'mmdet --help': lambda: _run_until([*lent, '--help'], usage, as_shipped),
    }
    return first, helps, list(NOTES)


def _mmdet_config(cfg: Config, work_dir: Path) -> Config:
    """Return mmdet's SSDLite config on the data of ours."""
    theirs = peer_config('mmdet', cfg, input_size(cfg))
    theirs.work_dir = str(work_dir)
    theirs.default_hooks.logger.interval = 1
    for split in ('train', 'val', 'test'):
        loader, ours = theirs[f'{split}_dataloader'], cfg[f'{split}_dataloader']
        pipeline = datasets_of(theirs, (split,))[0]['pipeline']
        node = dict(datasets_of(cfg, (split,))[0], type='CocoDataset', pipeline=pipeline)
        loader['dataset'] = node  # `update` would merge it with mmdet's
        loader.update(
            batch_size=ours.batch_size,
            num_workers=ours.num_workers,
            persistent_workers=ours.num_workers > 0,
        )
        if split != 'train':
            theirs[f'{split}_evaluator'].ann_file = str(Path(node['data_root'], node['ann_file']))
    return theirs


def _run_until(
    command: Sequence[str], pattern: re.Pattern, settings: Mapping[str, str] | None = None
) -> None:
    """Start a command, and end it when a line of its output matches.

    Args:
        command: The program and its arguments.
        pattern: Of the line.
        settings: Added to the environment.

    Raises:
        UserError: If it ends, or ten minutes pass, before.
    """
    process = subprocess.Popen(
        command,
        env=child_environment(**(settings or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    timer = threading.Timer(_LIMIT, process.kill)
    timer.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if pattern.search(line):
                return
    finally:
        timer.cancel()
        process.kill()
        process.stdout.close()
        process.wait()
    raise UserError(
        f'{" ".join(command)[:200]} ended before its first iteration:\n{"".join(lines)[-2000:]}'
    )
