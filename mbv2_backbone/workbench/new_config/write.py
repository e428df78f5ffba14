"""Write a training config for a folder of images."""

from __future__ import annotations

import os.path as osp
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...common.files import replaced_whole, write_atomically
from ...common.messages import UserError
from ..data.check.check import Report, check_dataset
from ..data.check.stats import relative_wh
from ..data.find import find_dataset, guess_task
from ..data.names import read_class_file
from .cls import cls_settings
from .config_text import config_text
from .det import det_settings
from .fitting import (
    TRAINED_STEPS,
    Schedule,
    cls_size,
    det_size,
    plan_class_weights,
    plan_priors,
    plan_schedule,
    seg_size,
)
from .initial_weights import choose_weights
from .paths import check_fits, plan_split
from .seg import seg_settings, trained_classes

_PREFIXES = dict(
    det='ssdlite_mbv2', seg='deeplabv3_mbv2', both='ssdlite-deeplabv3_mbv2', cls='mobilenetv2'
)
_MAX_BATCH = dict(det=16, seg=8, both=16, cls=32)
_LARGE = 512  # side in pixels above which the batch size is halved


@dataclass(frozen=True)
class Choices:
    """The user's choices that differ from the defaults; see `new_config`.

    Attributes:
        format_name: Its `layout`.
        size: Its `size`.
        width: Its `width`.
        passes: Its `epochs`.
        pretrained: Its `pretrained`.
        class_file: Its `mask_classes`.

    Raises:
        UserError: If a size or a number of passes is less than 1.
    """

    format_name: str | None = None
    size: int | None = None
    width: float = 1.0
    passes: int | None = None
    pretrained: str | None = None
    class_file: str | None = None

    def __post_init__(self) -> None:
        for flag, value in (('--size', self.size), ('--epochs', self.passes)):
            if value is not None and value < 1:
                raise UserError(f'{flag} must be at least 1, not {value}')


@dataclass
class NewConfig:
    """A written config; printed, what was found and chosen.

    Attributes:
        path: Path of the config.
        report: Result of the check of its data.
        facts: What was chosen, one line each.
        checkpoint: Where training saves the last checkpoint.
        split_files: New files in the dataset folder that define its splits.
    """

    path: Path
    report: Report
    facts: list[str]
    checkpoint: str
    split_files: list[Path] = field(default_factory=list)

    def __repr__(self) -> str:
        written = [f'wrote {path}' for path in self.split_files]
        return '\n'.join(
            [str(self.report), *written, f'wrote {self.path}: {"; ".join(self.facts)}']
        )


def new_config(
    data: str | Path,
    task: str | None = None,
    *,
    out: str | Path | None = None,
    force: bool = False,
    layout: str | None = None,
    size: int | None = None,
    width: float = 1.0,
    epochs: int | None = None,
    pretrained: str | None = None,
    mask_classes: str | Path | None = None,
) -> NewConfig:
    """Check a dataset and write a config that trains on it.

    Args:
        data: Folder of the dataset.
        task: `det`, `seg`, `both` or `cls`; by default the one that the annotations are for.
        out: Path of the config; by default it is in `configs` and named after the folder.
        force: Replace an existing config.
        layout: Format of the dataset, if the folder has several: `coco`, `voc` or `masks`.
        size: Side of the square input of a detector or classifier in pixels, or the longer side of
            a segmentor's.
        width: Width multiplier of the backbone.
        epochs: Passes over the training images.
        pretrained: Checkpoint to start from; `none` trains from scratch, `None` chooses the best
            that can be fetched.
        mask_classes: File that names the mask values, one per line.

    Raises:
        UserError: If the config exists, the dataset does not fit the task, something in it
            would stop training, or a file cannot be written; nothing is written then.
    """
    choices = Choices(
        format_name=layout,
        size=size,
        width=width,
        passes=epochs,
        pretrained=pretrained,
        class_file=mask_classes,
    )
    return write_config(data, task, out=out, force=force, choices=choices)


def write_config(
    folder: str | Path,
    task: str | None,
    *,
    out: str | Path | None = None,
    force: bool = False,
    choices: Choices,
) -> NewConfig:
    """Write a config with choices that differ from the defaults; see `new_config`."""
    name = re.sub(r'\W+', '_', Path(folder).resolve().name).strip('_').lower() or 'set'
    task = task or _only_task(folder, choices.format_name)
    path = Path(out or osp.join('configs', f'{_PREFIXES[task]}_{name}.py'))
    if path.exists() and not force:
        raise UserError(f'{path} already exists; give another --out, or --force to replace it')
    dataset = find_dataset(folder, format_name=choices.format_name, task=task)
    if choices.class_file:
        names = read_class_file(Path(choices.class_file))
        dataset.mask_classes, dataset.mask_palette = names
    check_fits(dataset, task)
    report = check_dataset(dataset)
    if report.stops_training:
        raise UserError(f'this dataset cannot be used for training yet:\n\n{report}')
    if report.doubt:
        raise UserError(f'{report.doubt.what}; {report.doubt.fix}')
    settings, facts, schedule = _choose(report, task, choices)
    split_files = plan_split(dataset)
    _write(config_text(dataset, task, settings(), facts, path), path, split_files)
    last = f'iter_{schedule.max_iters}' if task == 'seg' else f'epoch_{schedule.epochs}'
    checkpoint = osp.join('work_dirs', path.stem, f'{last}.pth')
    return NewConfig(path, report, facts, checkpoint, list(split_files))


def _only_task(folder: str | Path, format_name: str | None) -> str:
    task = guess_task(folder, format_name=format_name)
    if task == 'both':
        raise UserError(f'{folder} has boxes and masks; give --task det, seg or both')
    return task


def _write(text: str, path: Path, split_files: Mapping[Path, bytes]) -> None:
    """Write the config and the lists of its splits; none are left if the config fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_whole(path) as part:
            part.write_text(text, encoding='utf-8')
            for file, content in split_files.items():
                write_atomically(content, file)
    except OSError as error:
        raise UserError(f'cannot write {path} and what it needs: {error}') from error


def _choose(
    report: Report, task: str, choices: Choices
) -> tuple[Callable[[], dict[str, Any]], list[str], Schedule]:
    """Choose sizes, priors or class weights, and the schedule.

    Returns:
        A function that makes the settings once the splits are written; what was chosen, one line
        each; the schedule.
    """
    dataset = report.dataset
    records = [item.record for item in dataset.splits['train']]
    image_sizes = np.array([r.size_wh for r in records if all(r.size_wh)])
    start = choose_weights(task, choices.width, choices.pretrained)
    common: dict[str, Any] = dict(width=choices.width)
    plan = partial(
        _schedule,
        task=task,
        num_images=len(records),
        passes=choices.passes,
        is_trained=start.address is not None,
    )
    facts = []
    if task == 'cls':
        size = choices.size or cls_size(image_sizes)
        schedule = plan(size)
        facts = [f'input {size}x{size}', _describe(schedule), start.fact]
        make = partial(cls_settings, dataset, schedule, size=size, weights=start, **common)
        return make, facts, schedule
    if task != 'det':
        pixels = report.stats['train'].pixels
        weights = plan_class_weights([pixels[name] for name in trained_classes(dataset)])
        common['class_weight'] = weights
        facts = [f'classes weighted by their pixels: {min(weights):g} to {max(weights):g}']
    if task == 'seg':
        size_wh = seg_size(image_sizes, choices.size)
        schedule = plan(max(size_wh))
        facts = [f'input {size_wh[0]}x{size_wh[1]}', *facts, _describe(schedule), start.fact]
        make = partial(seg_settings, dataset, schedule, size_wh=size_wh, weights=start, **common)
        return make, facts, schedule
    size = choices.size or det_size(image_sizes, relative_wh(records))
    trained = start.detector and start.detector.shapes
    strides = (8, 16, 16) if task == 'both' else (8, 16, 32)
    priors = plan_priors(records, size, strides=strides, trained=trained)
    if priors.shapes is not trained and start.detector:
        start = start.without_head('its priors match too few of these boxes for its head')
    schedule = plan(size)
    described = (
        f'priors on {len(priors.shapes)} maps: recall {priors.recall:.3f} at IoU 0.5 '
        f'(the default priors: {priors.default_recall:.3f})'
    )
    facts = [f'input {size}x{size}', described, *facts, _describe(schedule), start.fact]
    make = partial(det_settings, dataset, priors, schedule, size=size, weights=start, **common)
    return make, facts, schedule


def _schedule(
    side: int, *, task: str, num_images: int, passes: int | None, is_trained: bool
) -> Schedule:
    max_batch = _MAX_BATCH[task] // (2 if side > _LARGE else 1)
    return plan_schedule(
        num_images,
        max_batch=max_batch,
        passes=passes,
        is_trained=is_trained,
        min_steps=TRAINED_STEPS if is_trained and task == 'det' else 0,
    )


def _describe(schedule: Schedule) -> str:
    return f'{schedule.max_iters} iterations of {schedule.batch_size} images'
