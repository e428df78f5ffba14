"""Train a config with several seeds and write a record for each; safe to interrupt."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.train.signals import handled_by

from ..speed.child import child_environment
from .job import Job
from .record import digest_of, make_record, read_record, write_record

_DIGEST_FILE = 'accuracy.digest'


def name_of(config: str, options: Sequence[str], name: str | None) -> str:
    """Return the name of a run; by default that of the config.

    Raises:
        UserError: If there are overrides but no name.
    """
    if name is None and options:
        raise UserError(
            'runs with --cfg-options need a --name that distinguishes them from the config'
        )
    return name or Path(config).stem


def run_seeds(job: Job, seeds: Sequence[int], train_tool: Path) -> None:
    """Train with each seed and write its record; finished runs are skipped.

    An interrupted training resumes from its newest checkpoint.

    Args:
        job: The training; its seed is not used.
        seeds: The seeds.
        train_tool: Our tools/train.py.

    Raises:
        UserError: If a training fails, or a record or work directory has different settings.
        SystemExit: On Ctrl-C or SIGTERM, once the training has saved a checkpoint.
    """
    for seed in seeds:
        _run(replace(job, seed=seed), train_tool)


def _run(job: Job, train_tool: Path) -> None:
    cfg = load_config(job.config, job.overrides)
    digest = digest_of(cfg)
    if job.path.exists():
        if read_record(job.path)['digest'] != digest:
            raise UserError(
                f'{job.path} was made with different settings than those of {job.config} now; give '
                f'this run another --name, or delete the file'
            )
        print(f'{job.path} already exists')
        return
    _claim(job.work_dir, digest)
    place = ['--work-dir', str(job.work_dir), '--resume']
    code = run_to_end([sys.executable, str(train_tool), *job.arguments, *place])
    if code != 0:
        raise UserError(f'the training of {job.path.stem} ended with {code}; log: {job.work_dir}')
    write_record(job.path, make_record(job, cfg, digest))
    print(f'{job.path} written')


def _claim(work_dir: Path, digest: str) -> None:
    """Refuse a work directory that was started with different settings."""
    file = work_dir / _DIGEST_FILE
    if file.exists() and file.read_text(encoding='utf-8') != digest:
        raise UserError(
            f'{work_dir} contains a run with different settings; delete it, or give another --name'
        )
    work_dir.mkdir(parents=True, exist_ok=True)
    file.write_text(digest, encoding='utf-8')


def run_to_end(command: Sequence[str]) -> int:
    """Run a command and pass SIGINT and SIGTERM on to it; return its exit status.

    Raises:
        SystemExit: After a signal, once the command has ended.
    """
    received: list[int] = []
    with subprocess.Popen(command, env=child_environment()) as process:

        def pass_on(signum: int, _frame: object) -> None:
            received.append(signum)
            process.send_signal(signum)

        with handled_by(pass_on):
            code = process.wait()
    if received:
        raise SystemExit(128 + received[0])
    return code
