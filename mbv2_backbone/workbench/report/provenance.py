"""A report's provenance: config, checkpoint, packages, device and training run."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import torch
from mmengine.runner import Runner

import mbv2_backbone

from ...common.notebook import in_notebook
from ..environment import cpu_name, versions
from .logs import newest_log, read_scalars


def origin_of(runner: Runner, checkpoint: str) -> dict:
    """Return the provenance that a report states; all of it can be written as JSON."""
    found = versions()
    commit = commit_of(Path(mbv2_backbone.__file__).parent)
    if commit:
        found['git commit'] = commit
    tool = Path(sys.argv[0])
    has_gpu = torch.cuda.is_available()
    found['device'] = torch.cuda.get_device_name() if has_gpu else f'CPU, {cpu_name()}'
    found['system'] = platform.platform()
    return dict(
        title=runner.experiment_name.removesuffix(f'_{runner.timestamp}'),
        checkpoint=str(checkpoint),
        created=datetime.now().astimezone().isoformat(' ', timespec='seconds'),
        command='a cell of a notebook' if in_notebook() else shlex.join([tool.name, *sys.argv[1:]]),
        versions=found,
        training=training_in(Path(checkpoint).parent, Path(runner.work_dir)),
        config=runner.cfg.pretty_text,
    )


def training_in(*folders: Path) -> dict:
    """Return the newest training log in the first folder that has one, and its values."""
    for folder in folders:
        log = newest_log(folder)
        if log is not None:
            return dict(log=str(log), scalars=read_scalars(folder))
    return dict(log=None, scalars=[])


def commit_of(package: Path) -> str:
    """Return the commit of the checkout that contains a package, with `+` if files were changed.

    Empty if the package was installed: it may be inside a checkout of another project.
    """
    git = ['git', '-C', str(package.parent)]
    try:
        _output([*git, 'ls-files', '--error-unmatch', f'{package.name}/__init__.py'])
        return _output([*git, 'describe', '--always', '--exclude=*', '--abbrev=12', '--dirty=+'])
    except (OSError, subprocess.SubprocessError):
        return ''


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
