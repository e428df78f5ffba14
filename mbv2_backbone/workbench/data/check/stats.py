"""Dataset statistics: counts and sizes of images and boxes, and the pixels of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..records import Record

if TYPE_CHECKING:
    from ...checks.mask_values import MaskFacts

# COCO calls boxes below 32x32 pixels small and those of 96x96 or more large.
COCO_AREAS = dict(small=(0, 32**2), medium=(32**2, 96**2), large=(96**2, float('inf')))
_MAX_SIZES = 5
_QUANTILES = dict(least=0, tenth=0.1, median=0.5, nine_tenths=0.9, most=1)


@dataclass(frozen=True)
class SplitStats:
    """Numbers about the images of a split.

    Attributes:
        images: Number of images.
        empty: Number of images without a box to learn from.
        boxes: Boxes to learn from, by class.
        coco_sizes: Boxes by COCO's sizes: `small`, `medium` and `large`.
        areas: Areas of boxes in pixels: `least`, `tenth`, `median`, `nine_tenths` and `most`.
        relative_sizes: The same for the square root of a box's area relative to its image, in
            [0, 1].
        image_sizes: Images by `WIDTHxHEIGHT`, the most frequent first.
        ignored: Boxes that nothing is learned from: crowds, or difficult.
        masks: Images with a mask.
        pixels: Share of the masks' pixels by class, in [0, 1], without ignored ones.
        labels: Images by class, where they are sorted by class.
    """

    images: int
    empty: int
    boxes: dict[str, int]
    coco_sizes: dict[str, int]
    areas: dict[str, float]
    relative_sizes: dict[str, float]
    image_sizes: dict[str, int]
    ignored: int = 0
    masks: int = 0
    pixels: dict[str, float] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)


def relative_wh(records: Sequence[Record]) -> np.ndarray:
    """Return width and height, relative to the image, of all boxes to learn from: `(N, 2)`."""
    rows = [(x2 - x1, y2 - y1) for r in records for x1, y1, x2, y2 in r.relative_boxes]
    return np.array(rows, float).reshape(-1, 2)


def count_split(
    records: Sequence[Record],
    classes: Sequence[str],
    masks: Mapping[Path, MaskFacts],
    mask_classes: Mapping[int, str],
) -> SplitStats:
    """Count the images of a split, their boxes, and the pixels of their masks by `mask_classes`."""
    learned = [record.learned for record in records]
    labels = Counter(label for found in learned for _, label in found)
    areas = np.array([(x2 - x1) * (y2 - y1) for found in learned for (x1, y1, x2, y2), _ in found])
    sizes = Counter('x'.join(map(str, r.size_wh)) for r in records if all(r.size_wh))
    facts = [masks[record.mask] for record in records if record.mask in masks]
    sorted_by = Counter(record.label for record in records if record.label is not None)
    named = {} if sorted_by else dict(enumerate(classes))
    return SplitStats(
        images=len(records),
        empty=learned.count([]),
        boxes={name: labels[index] for index, name in named.items()},
        coco_sizes={
            name: int(((low <= areas) & (areas < high)).sum())
            for name, (low, high) in COCO_AREAS.items()
        },
        areas=_quantiles(areas),
        relative_sizes=_quantiles(np.sqrt(relative_wh(records).prod(axis=1))),
        image_sizes=dict(sizes.most_common()),
        ignored=sum(sum(record.is_ignored) for record in records),
        masks=len(facts),
        pixels=_pixel_shares(facts, mask_classes),
        labels={classes[label]: count for label, count in sorted(sorted_by.items())},
    )


def _quantiles(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    return {name: float(np.quantile(values, part)) for name, part in _QUANTILES.items()}


def _pixel_shares(facts: Sequence[MaskFacts], names: Mapping[int, str]) -> dict[str, float]:
    counts = Counter(dict.fromkeys(names.values(), 0))
    for fact in facts:
        for value, count in fact.counts:
            if value in names:  # one of several values of a class, such as index and colour
                counts[names[value]] += count
    total = counts.total() or 1
    return {name: count / total for name, count in counts.items()} if facts else {}


def describe(stats: Mapping[str, SplitStats]) -> str:
    """Format the numbers in columns, one per split."""
    has_boxes = any(split.boxes for split in stats.values())
    blocks = [_block('images', stats, _image_counts)]
    if has_boxes:
        blocks += [
            _block('boxes', stats, _box_counts),
            _block("boxes by COCO's sizes", stats, lambda split: split.coco_sizes),
            _block('area of boxes, pixels', stats, lambda split: split.areas),
            _block('box size relative to the image', stats, lambda split: split.relative_sizes),
        ]
    if any(split.labels for split in stats.values()):
        blocks.append(_block('images by class', stats, lambda split: split.labels))
    blocks.append(_block('size of images', stats, _frequent_sizes))
    if any(split.pixels for split in stats.values()):
        blocks.append(_block('share of mask pixels', stats, lambda split: split.pixels))
    return '\n'.join(blocks)


def _image_counts(split: SplitStats) -> dict[str, int]:
    counts = {'all': split.images}
    if split.boxes:
        counts['without a box'] = split.empty
    return counts | ({'with a mask': split.masks} if split.masks else {})


def _box_counts(split: SplitStats) -> dict[str, int]:
    counts = split.boxes | {'all': sum(split.boxes.values())}
    return counts | ({'ignored': split.ignored} if split.ignored else {})


def _frequent_sizes(split: SplitStats) -> dict[str, int]:
    sizes = list(split.image_sizes.items())
    others = sum(count for _, count in sizes[_MAX_SIZES:])
    return dict(sizes[:_MAX_SIZES]) | ({'others': others} if others else {})


def _block(
    title: str,
    stats: Mapping[str, SplitStats],
    rows_of: Callable[[SplitStats], Mapping[str, float]],
) -> str:
    columns = [rows_of(split) for split in stats.values()]
    names = list(dict.fromkeys(name for column in columns for name in column))
    lines = [f'{title:<30}' + ''.join(f'{split:>12}' for split in stats)]
    for name in names:
        cells = [_cell(column.get(name)) for column in columns]
        lines.append(f'  {name:<28}' + ''.join(f'{cell:>12}' for cell in cells))
    return '\n'.join(lines)


def _cell(value: float | None) -> str:
    if value is None:
        return '-'
    return str(value) if isinstance(value, int) else f'{value:.0f}' if value > 1 else f'{value:.3f}'
