"""Base class of the COCO and VOC datasets, which reports invalid annotations."""

from __future__ import annotations

import os.path as osp
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..annotations.boxes import Box, Object
from ..annotations.images import ROUNDING
from ..annotations.objects import AS_OBJECTS, ignored_problem, usable_box
from ..common.messages import UserError, first_lines, warn

MAX_LOGGED = 50


class CheckedDatasetMixin:
    """Reports invalid annotations, and loads images in the orientation of their annotations.

    A box that no loss can use is dropped; one that extends beyond its image is clipped. In the
    pipeline `LoadImageAsAnnotated` replaces `LoadImageFromFile`.

    Attributes:
        dropped_boxes: `(file, box, problem)` of each dropped box; boxes as in the file: xywh for
            COCO, xyxy for VOC.
        cut_boxes: The same for boxes that extended beyond their image by more than a pixel.
    """

    def __init__(self, *, pipeline: Sequence[Any] = (), **kwargs: Any) -> None:
        super().__init__(pipeline=[_as_annotated(step) for step in pipeline], **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the annotations, then log what is wrong with them.

        Raises:
            UserError: If they list no images, or only ignored objects.
        """
        self.dropped_boxes: list[tuple[str, Any, str]] = []
        self.cut_boxes: list[tuple[str, Any, str]] = []
        data_list = super().load_data_list()
        if not data_list:
            raise UserError(f'{self.ann_file} lists no images')
        self._warn_of('Dropped', 'box(es)', 'that cannot be used for training', self.dropped_boxes)
        self._warn_of('Cut', 'box(es)', 'at the edges of their images', self.cut_boxes)
        self._judge_learned([box for info in data_list for box in info['instances']])
        return data_list

    def _judge_learned(self, boxes: Sequence[dict]) -> None:
        num_ignored = sum(box['ignore_flag'] for box in boxes)
        problem = ignored_problem(len(boxes) - num_ignored, num_ignored)
        if problem:
            text = f'{self.ann_file}: {problem}; {AS_OBJECTS}'
            if num_ignored == len(boxes):
                raise UserError(text)
            warn(text)

    def filter_data(self) -> list[dict]:
        """Filter as mmdet does, and log which images are too small.

        Raises:
            UserError: If none is left.
        """
        kept = super().filter_data()
        if not kept:
            raise UserError(
                f'filter_cfg={self.filter_cfg} leaves none of the {len(self.data_list)} images of '
                f'{self.ann_file}'
            )
        ids = {info['img_id'] for info in kept}
        min_size = (self.filter_cfg or {}).get('min_size', 0)
        skipped = [
            (osp.basename(info['img_path']), (info['width'], info['height']), 'is too small')
            for info in self.data_list
            if info['img_id'] not in ids and min(info['width'], info['height']) < min_size
        ]
        self._warn_of('Skipped', 'image(s)', f'smaller than {min_size} px', skipped)
        return kept

    def _warn_of(
        self, done: str, what: str, why: str, found: Sequence[tuple[str, Any, str]]
    ) -> None:
        if not found:
            return
        reasons = Counter(problem for _, _, problem in found)
        lines = [
            f'{done} {len(found)} {what} of {self.ann_file} {why}: '
            f'{", ".join(f"{count} {reason}" for reason, count in reasons.items())}.'
        ]
        named = [f'{file}: {value} {problem}' for file, value, problem in found]
        lines += first_lines(named, MAX_LOGGED)
        warn('\n'.join(lines))

    def _usable(self, file: str, item: Object, wh: tuple[int, int]) -> Box | None:
        """Return the box of an object, clipped to its image; note what is wrong with it."""
        box, problem = usable_box(item, wh)
        if problem is not None:
            self.dropped_boxes.append((file, item.stored, problem))
        elif max(abs(new - old) for new, old in zip(box, item.xyxy, strict=True)) > ROUNDING:
            self.cut_boxes.append((file, item.stored, 'extends beyond the image'))
        return box


def _as_annotated(step: Any) -> Any:
    """Replace mmcv's loader with ours, also inside other steps."""
    if isinstance(step, (list, tuple)):
        return type(step)(_as_annotated(inner) for inner in step)  # RandomResize needs tuples
    if not isinstance(step, dict):
        return step
    step = {key: _as_annotated(value) for key, value in step.items()}
    if step.get('type') == 'LoadImageFromFile':
        step['type'] = 'LoadImageAsAnnotated'
    return step


def counted(others: Sequence[tuple[str, int]]) -> str:
    """Join names with their counts."""
    return ', '.join(f'{name} ({count})' for name, count in others)


def warn_of_other_classes(ann_file: str, others: Counter[str]) -> None:
    """Warn of classes in the annotations that the config does not list."""
    if others:
        warn(f'{ann_file}: skipped objects of other classes: {counted(others.most_common(20))}')
