"""Check that a config's data exist and can be used for training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from ...annotations.boxes import box_problem
from ...annotations.completion import MISREAD
from ...common.messages import UserError, first_lines
from ..configs.summary import ConfigSummary
from .before_run import check_classes, check_data, check_evaluators, check_masks
from .box_counts import contradictions, count_samples, judge_outlines
from .broken_images import MAX_BROKEN
from .finding import Finding
from .image_files import check_samples, samples_of
from .image_labels import check_image_labels

CHECKED_SPLITS = ('train', 'val')


def check_config_data(
    cfg: Config, summary: ConfigSummary, splits: Sequence[str] = CHECKED_SPLITS
) -> list[Finding]:
    """Check the classes, paths, annotations, images and masks of a config's data."""
    findings = []
    checks = {
        'the classes of heads and datasets agree': partial(check_classes, cfg),
        'all data are where the config expects them': check_data,
    }
    for good, check in checks.items():
        findings += _tell(good, check, summary, splits)
    if any(finding.level == 'error' for finding in findings):
        return findings
    check = partial(check_evaluators, cfg)
    findings += _tell("the evaluators' files are there", check, summary, splits)
    for split in splits:
        findings += _check_split(cfg, summary, split)
    if cfg.model.get('cls_head'):
        check = partial(check_image_labels, cfg)
        findings += _tell('the classifier has labels to learn from', check, summary, splits)
    if summary.task in ('det', 'cls'):
        return findings
    check = partial(check_masks, cfg)
    return findings + _tell('all masks can be used', check, summary, splits)


def _tell(
    good: str,
    check: Callable[[ConfigSummary, Sequence[str]], None],
    summary: ConfigSummary,
    splits: Sequence[str],
) -> list[Finding]:
    try:
        check(summary, splits)
    except UserError as error:
        return [Finding('error', str(error), 'see above')]
    return [Finding('ok', good)]


def _check_split(cfg: Config, summary: ConfigSummary, split: str) -> list[Finding]:
    findings, samples = [], []
    for one in summary.datasets[split]:
        try:
            dataset = DATASETS.build(dict(one.config, pipeline=[], serialize_data=False))
        except UserError as error:
            return [*findings, Finding('error', f'{split}: {error}', 'see above')]
        findings += check_boxes(split, dataset)
        findings += [
            Finding('warning', f'{split}: {dataset.ann_file}: {remark}', MISREAD)
            for remark in getattr(dataset, 'remarks', ())
        ]
        samples += samples_of(dataset)
    if not summary.datasets[split]:
        return findings
    findings += judge_outlines(split, contradictions(samples))
    findings += count_samples(split, samples)
    broken, notes = check_samples(samples, Path(summary.work_dir, 'images.json'))
    share = cfg.get('max_broken_images', MAX_BROKEN) if split == 'train' else 0
    findings += judge_broken(split, broken, len(samples), share)
    fix = 'nothing if this is intended; otherwise replace the files'
    return findings + [Finding('warning', f'{split}: {note}', fix) for note in notes]


def check_boxes(split: str, dataset: Any) -> list[Finding]:
    """Report the boxes that no loss can use; a `CheckedDatasetMixin` drops them."""
    dropped = getattr(dataset, 'dropped_boxes', None)
    is_checked = dropped is not None
    if not is_checked:
        dropped = [
            (sample['img_path'], box['bbox'], problem)
            for sample in samples_of(dataset)
            for box in sample.get('instances', [])
            if (problem := box_problem(box['bbox'], (sample['width'], sample['height'])))
        ]
    if not dropped:
        return []
    reasons = Counter(problem for *_, problem in dropped)
    effect = 'are dropped' if is_checked else 'make the loss wrong or NaN'
    lines = [
        f'{split}: {len(dropped)} boxes {effect}: '
        + ', '.join(f'{count} {reason}' for reason, count in reasons.items())
    ]
    lines += first_lines([f'{file}: {box} {what}' for file, box, what in dropped])
    if is_checked:
        fix = 'fix these boxes in the annotation files'
        return [Finding('warning', '\n'.join(lines), fix)]
    fix = 'type=CheckedCocoDataset or CheckedVOCDataset in the config drops them'
    return [Finding('error', '\n'.join(lines), fix)]


def judge_broken(
    split: str, broken: dict[str, str], num_images: int, max_share: float
) -> list[Finding]:
    """Report whether a run would continue despite its broken images.

    Args:
        split: `train` or `val`.
        broken: What is wrong with each broken image, by path.
        num_images: Number of images in the split.
        max_share: Share of the images that may be broken.
    """
    if not broken:
        return [Finding('ok', f'{split}: every image can be read')]
    lines = [f'{split}: {len(broken)} of {num_images} images are broken']
    lines += first_lines([f'{path} {problem}' for path, problem in broken.items()])
    level = 'error' if len(broken) > max_share * num_images else 'warning'
    return [
        Finding(level, '\n'.join(lines), 'fix these files, or remove them from the annotations')
    ]
