"""The JSON record of a training run: settings, machine and metrics per epoch."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbv2_backbone.common.files import write_atomically
from mbv2_backbone.common.messages import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

    from .job import Job

METRIC = dict(det='coco/bbox_mAP', joint='coco/bbox_mAP', seg='mIoU', cls='accuracy/top1')
_NEEDED = {'name', 'seed', 'digest', 'data', 'task', 'final', 'validations'}
_NO_METRICS = ('time', 'data_time')


def digest_of(cfg: Config) -> str:
    """Return a hash of all settings except the seed and the work directory.

    A step that gives the very tensors of another, which its tests show, counts as that.
    """
    settings = {k: v for k, v in cfg.to_dict().items() if k not in ('work_dir', 'randomness')}
    text = json.dumps(settings, sort_keys=True, default=str)
    text = text.replace('"FastPackSegInputs"', '"PackSegInputs"')
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_record(job: Job, cfg: Config, digest: str) -> dict[str, Any]:
    """Make the record of a finished training run.

    Args:
        job: The training.
        cfg: Its config, with all overrides.
        digest: See `digest_of`.

    Raises:
        UserError: If its logs contain no validation.
    """
    from mbv2_backbone.workbench.configs.read import SPLITS
    from mbv2_backbone.workbench.configs.summary import summarise
    from mbv2_backbone.workbench.report.logs import read_scalars

    from ..speed.complexity import count_model
    from ..speed.models import build_random, input_size

    rows = read_scalars(job.work_dir)
    validations = validations_of(rows, cfg)
    if not validations:
        raise UserError(f'the logs in {job.work_dir} contain no validation')
    summary = summarise(cfg)
    datasets = summary.of(SPLITS)
    counts = count_model(build_random(cfg), input_size(cfg))
    return dict(
        name=job.name,
        config=job.config,
        options=list(job.options),
        command='python ' + shlex.join(['tools/train.py', *job.arguments]),
        seed=job.seed,
        digest=digest,
        date=datetime.now().astimezone().isoformat(timespec='seconds'),
        task=summary.task,
        data=Path(datasets[0].config['data_root']).name,
        classes=list(
            summary.box_classes().names
            or summary.mask_classes().names
            or summary.image_classes().names
        ),
        params=counts['params'],
        madds=counts['madds'],
        train_minutes=round(seconds_of_training(rows) / 60, 2),
        total_minutes=round(seconds_of_runs(job.work_dir) / 60, 2),
        final=validations[-1],
        best=max(validations, key=lambda found: found[METRIC[summary.task]]),
        validations=validations,
        **_where(),
    )


def validations_of(rows: Sequence[dict], cfg: Config) -> list[dict[str, float]]:
    """Return the figures of each validation, with `epochs`: passes over the images before it.

    Args:
        rows: As `read_scalars` returns them.
        cfg: The config of the training.
    """
    from mbv2_backbone.workbench.report.logs import keys_of

    keys = [key for key in keys_of(rows, is_val=True) if key not in _NO_METRICS]
    found = []
    for row in rows:
        figures = {key: row[key] for key in keys if key in row and isfinite(row[key])}
        if row['is_val'] and figures:
            found.append(dict(epochs=_passes(row, cfg), iter=row['iter'], **figures))
    return found


def _passes(row: dict, cfg: Config) -> float:
    dataset, times = cfg.train_dataloader.dataset, 1
    if dataset.type == 'RepeatDataset':
        dataset, times = dataset.dataset, dataset.times
    if 'epoch' in row:
        return row['epoch'] * times
    from mmengine.registry import DATASETS

    images = len(DATASETS.build(dict(dataset, pipeline=[])))
    return round(row['iter'] * cfg.train_dataloader.batch_size / images, 2)


def seconds_of_training(rows: Sequence[dict]) -> float:
    """Return the time of all training steps, without validations.

    Args:
        rows: As `read_scalars` returns them; `time` is that of a step. mmengine writes the mean of
            the last ten steps, so the sum is exact where the logger's interval is ten.
    """
    seconds, before = 0.0, 0
    for row in rows:
        if not row['is_val'] and 'time' in row:
            seconds += row['time'] * (row['iter'] - before)
            before = row['iter']
    return seconds


def seconds_of_runs(work_dir: Path) -> float:
    """Return the time from start to last log entry, summed over a run and its resumptions."""
    seconds = 0.0
    for path in work_dir.glob('*/vis_data/scalars.json'):
        start = datetime.strptime(path.parts[-3], '%Y%m%d_%H%M%S').astimezone()
        seconds += path.stat().st_mtime - start.timestamp()
    return seconds


def _where() -> dict[str, Any]:
    import torch

    import mbv2_backbone
    from mbv2_backbone.workbench.configs.machine import cpu_count
    from mbv2_backbone.workbench.environment import cpu_name, versions
    from mbv2_backbone.workbench.report.provenance import commit_of

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name()
    return dict(
        machine=dict(device=device, cores=cpu_count(), threads=torch.get_num_threads()),
        versions=versions(),
        commit=commit_of(Path(mbv2_backbone.__file__).parent),
    )


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record atomically."""
    text = json.dumps(record, indent=1, ensure_ascii=False) + '\n'
    write_atomically(text.encode(), path)


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        UserError: If the file is not a record.
    """
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UserError(f'cannot read {path}: {error}') from error
    if not isinstance(record, dict) or not record.keys() >= _NEEDED:
        raise UserError(f'{path} is not a training record; tools/accuracy.py run writes them')
    return record
