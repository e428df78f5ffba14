"""Turn a dataset's problems into findings, as the doctor shows them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ....common.files import sha256_of_file
from ....common.messages import first_lines, first_names
from ...checks.box_counts import count_samples, judge_outlines
from ...checks.broken_images import MAX_BROKEN
from ...checks.config_data import check_boxes, judge_broken
from ...checks.finding import Finding
from ...checks.image_files import judge_all
from ..records import Dataset, Labelled, Record

if TYPE_CHECKING:
    from ...checks.mask_values import MaskFacts

_MAX_VALUES = 32  # in most masks of a dataset; ADE20K, with 150 classes, has about 10
_IF_MEANT = 'nothing if this is intended'


def find_faults(dataset: Dataset, masks: Mapping[Path, MaskFacts]) -> list[Finding]:
    """Find what is wrong with the files of a dataset; an `error` would stop training."""
    findings = [Finding('error', text, 'see above') for text in dataset.problems]
    findings += [Finding('warning', text, _IF_MEANT) for text in dataset.notes]
    findings += [Finding('ok', text) for text in dataset.assumed]
    if dataset.unlabelled:
        lines = [f'{len(dataset.unlabelled)} images have no annotation']
        lines += first_lines([str(path) for path in dataset.unlabelled])
        findings.append(Finding('warning', '\n'.join(lines), f'{_IF_MEANT}; else annotate them'))
    for split, items in dataset.splits.items():
        found = _check_split(split, items)
        if split == 'test' and not any(item.record.is_labelled for item in items):
            # It is not used for testing: configs take a split with labels.
            found = [replace(f, level='warning') if f.level == 'error' else f for f in found]
        findings += found
    return findings + _check_masks(dataset, masks)


def _check_split(split: str, items: Sequence[Labelled]) -> list[Finding]:
    samples = [_as_sample(item.record) for item in items]
    findings = count_samples(split, samples)
    dropped, doubted = (
        [
            ((item.annotation or item.path).name, box, problem)
            for item in items
            for box, problem in getattr(item.record, kind)
        ]
        for kind in ('dropped', 'doubted')
    )
    findings += check_boxes(split, SimpleNamespace(dropped_boxes=dropped))
    findings += judge_outlines(split, doubted)
    facts = (item.facts for item in items)
    broken, notes = judge_all(zip(samples, facts, strict=True))
    share = MAX_BROKEN if split == 'train' else 0
    findings += judge_broken(split, broken, len(items), share)
    findings += _turned(split, items)
    findings += [Finding('warning', f'{split}: {note}', _IF_MEANT) for note in notes]
    findings += _notes_of(split, items)
    unread = [
        problem for item in items for problem in item.record.problems if problem != item.facts.error
    ]
    if unread:
        lines = [f'{split}: {len(unread)} annotations cannot be read']
        fix = 'fix these files, or remove their images from the list'
        findings.append(Finding('error', '\n'.join(lines + first_lines(unread)), fix))
    return findings


def _notes_of(split: str, items: Sequence[Labelled]) -> list[Finding]:
    noted = defaultdict(list)
    for item in items:
        for note in item.record.notes:
            noted[note].append((item.annotation or item.path).name)
    return [
        Finding(
            'warning', f'{split}: {note} in {len(names)} files: {first_names(names)}', _IF_MEANT
        )
        for note, names in noted.items()
    ]


def _turned(split: str, items: Sequence[Labelled]) -> list[Finding]:
    num_turned = sum(
        item.facts.seen_wh != item.facts.stored_wh
        and item.record.stated_wh in (None, item.facts.seen_wh)
        for item in items
    )
    said = f'{split}: {num_turned} image(s) are turned as their EXIF data says, as'
    return [Finding('ok', f'{said} are their annotations')] if num_turned else []


def _as_sample(record: Record) -> dict:
    """Return a record in the format of the datasets' samples."""
    sample = dict(img_path=str(record.path), seg_map_path=record.mask)
    if record.label is not None:
        sample['gt_label'] = record.label
    if record.stated_wh:
        sample |= dict(zip(('width', 'height'), record.stated_wh, strict=True))
    if record.has_boxes:
        sample['instances'] = [
            dict(bbox=box, bbox_label=label, ignore_flag=int(is_ignored))
            for box, label, is_ignored in zip(
                record.boxes, record.labels, record.is_ignored, strict=True
            )
        ]
    return sample


def _check_masks(dataset: Dataset, masks: Mapping[Path, MaskFacts]) -> list[Finding]:
    if not masks:
        return []
    from ....annotations.masks import MaskCoding
    from ...checks.mask_values import MaskRules, mask_problem

    values = {value for fact in masks.values() for value, _ in fact.counts}
    if 255 in values and values <= {0, 255}:
        what = f'masks hold only 0 and 255, and 255 is ignored; there are {len(masks)}'
        fix = 'save objects as 1, and put their name on the second line of classes.txt'
        return [Finding('error', what, fix)]
    coding = MaskCoding(palette=dataset.mask_palette, ignore=dataset.ignored_values)
    rules = MaskRules(len(dataset.mask_classes), coding, reads_colours=True)
    found = [(path, mask_problem(fact, rules)) for path, fact in masks.items()]
    wrong = [(path, problem) for path, problem in found if problem]
    if not wrong:
        return [Finding('ok', f'every one of {len(masks)} masks can be used')]
    lines = [f'{len(wrong)} of {len(masks)} masks cannot be used']
    lines += first_lines([f'{path} {problem.what}' for path, problem in wrong])
    return [Finding('error', '\n'.join(lines), wrong[0][1].remedy)]


def doubt_values(masks: Collection[MaskFacts]) -> Finding | None:
    """Warn if the values in masks without class names look like grey levels, not like classes."""
    found = [[v for v, _ in fact.counts if isinstance(v, int) and v < 255] for fact in masks]
    used = sorted(set(chain.from_iterable(found)))
    count = max(used, default=-1) + 1
    is_spread = median(map(len, found)) > _MAX_VALUES
    if len(used) * 2 >= count and not is_spread:
        return None
    what = (
        f'masks hold {len(used)} different values from 0 to {count - 1}, like grey levels: '
        f'{first_names(map(str, used), 8)}. That would make {count} classes'
    )
    fix = (
        'write the number of its class, 0, 1, 2, …, into each pixel, and resize masks without '
        'interpolation (nearest neighbour); if these are the numbers, name the classes from 0 to '
        f'{count - 1} in classes.txt, one a line'
    )
    return Finding('warning', what, fix)


def find_overlap(splits: Mapping[str, Sequence[Labelled]]) -> list[Finding]:
    """Find images with the same content in several splits."""
    by_size = defaultdict(set)
    for split, items in splits.items():
        for item in items:
            if item.path.is_file():
                by_size[item.path.stat().st_size].add((split, item.path))
    by_content = defaultdict(set)
    for same_size in by_size.values():
        if len({split for split, _ in same_size}) > 1:
            for split, path in same_size:
                by_content[sha256_of_file(path)].add((split, path))
    doubles = [
        first_names(sorted(f'{split}: {path}' for split, path in same))
        for same in by_content.values()
        if len({split for split, _ in same}) > 1
    ]
    if not doubles:
        return [Finding('ok', 'no image is in two splits')]
    lines = [f'{len(doubles)} images are in more than one split, so metrics will be too good']
    lines += first_lines(sorted(doubles))
    return [Finding('warning', '\n'.join(lines), 'keep each image in one split only')]
