"""Count what there is to learn from, and compare them with the outlines of their objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...annotations.extents import outline_problem
from ...annotations.objects import AS_OBJECTS, ignored_problem
from ...common.messages import UserError, first_lines
from .finding import Finding


def count_samples(split: str, samples: Sequence[dict]) -> list[Finding]:
    """Count the images and annotations of a split, and report if there is nothing to learn."""
    text = f'{split}: {len(samples)} images'
    labels = {sample['gt_label'] for sample in samples if 'gt_label' in sample}
    if labels:
        return [Finding('ok', f'{text} of {len(labels)} classes')]
    masks = sum(bool(sample.get('seg_map_path')) for sample in samples)
    if masks:
        text += f', {masks} masks'
    if masks and not any('instances' in sample for sample in samples):
        return [Finding('ok', text)]
    flags = [[b.get('ignore_flag', 0) for b in s.get('instances', [])] for s in samples]
    num_ignored = sum(map(sum, flags))
    learned = [len(one) - sum(one) for one in flags]
    text += f', {sum(learned)} boxes, {learned.count(0)} images without a box'
    problem = ignored_problem(sum(learned), num_ignored)
    if problem:
        return [Finding('warning' if any(learned) else 'error', f'{text}; {problem}', AS_OBJECTS)]
    if not any(learned):
        fix = 'check the annotation files, and `classes` in the config'
        return [Finding('error', text, fix)]
    return [Finding('ok', f'{text}, {num_ignored} ignored' if num_ignored else text)]


def refuse_nothing_to_learn(split: str, samples: Sequence[dict]) -> None:
    """Refuse a split whose annotations have no box to learn from.

    Raises:
        UserError: With what there is instead, and what to do.
    """
    if not any('instances' in sample for sample in samples):
        return
    for finding in count_samples(split, samples):
        if finding.level == 'error':
            raise UserError(f'{finding.what}; {finding.fix}')


def contradictions(samples: Sequence[dict]) -> list[tuple[str, Any, str]]:
    """Return file, box and problem of each object whose outline contradicts its box."""
    return [
        (Path(sample['img_path']).name, box['bbox'], problem)
        for sample in samples
        for box in sample.get('instances', [])
        if box.get('mask')
        if (problem := outline_problem(box['mask'], box['bbox'], _wh(sample)))
    ]


def _wh(sample: dict) -> tuple[int, int]:
    return sample['width'], sample['height']


def judge_outlines(split: str, doubted: Sequence[tuple[str, Any, str]]) -> list[Finding]:
    """Report the boxes that contradict the outlines of their objects.

    Args:
        split: Name of the split.
        doubted: File, box and problem of each.
    """
    if not doubted:
        return []
    lines = [f'{split}: {len(doubted)} objects have an outline that contradicts their box']
    lines += first_lines([f'{file}: box {box} {problem}' for file, box, problem in doubted])
    fix = 'correct whichever is wrong; training reads the boxes, a conversion drops these outlines'
    return [Finding('warning', '\n'.join(lines), fix)]
