"""The rows of `predictions.json`, in COCO's result format, or with the classes of whole images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.structures import BaseDataElement

from ..drawing.painter import likeliest, mask_labels


class CocoRows:
    """Converts predictions to rows, without the boxes whose score is below a threshold."""

    def __init__(
        self,
        box_classes: Sequence[str],
        mask_classes: Sequence[str],
        image_classes: Sequence[str] = (),
        *,
        score_thr: float,
    ) -> None:
        self.image_classes = image_classes
        self.box_classes = box_classes
        self.mask_classes = mask_classes
        self.score_thr = score_thr
        # Boxes and masks of a class share an id; the background of masks comes last.
        names = box_classes or mask_classes
        self.category_ids = dict(zip(names, coco_category_ids(names), strict=True))
        for name in mask_classes:
            self.category_ids.setdefault(name, max(self.category_ids.values()) + 1)

    def __call__(self, sample: BaseDataElement, image_id: int, file_name: str) -> list[dict]:
        """Return the rows of one image."""
        rows: list[dict] = []
        if 'pred_instances' in sample:
            rows += self._of_boxes(sample)
        if 'pred_sem_seg' in sample:
            rows += self._of_masks(sample)
        if 'pred_scores' in sample:
            rows += [
                dict(category_id=k, category_name=self.image_classes[k], score=round(score, 4))
                for k, score in likeliest(sample)
            ]
        return [dict(image_id=image_id, file_name=file_name) | row for row in rows]

    def _of_boxes(self, sample: BaseDataElement) -> Iterator[dict]:
        found = sample.pred_instances.cpu()
        found = found[found.scores >= self.score_thr]
        for (x1, y1, x2, y2), score, label in zip(
            found.bboxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        ):
            box = [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)]
            yield self._category(self.box_classes[label]) | dict(bbox=box, score=round(score, 4))

    def _of_masks(self, sample: BaseDataElement) -> Iterator[dict]:
        from pycocotools import mask as coco_mask

        labels = np.asfortranarray(mask_labels(sample, 'pred_sem_seg'))
        for label in np.unique(labels).tolist():
            code = coco_mask.encode((labels == label).view(np.uint8))
            code['counts'] = code['counts'].decode()
            yield self._category(self.mask_classes[label]) | dict(segmentation=code)

    def _category(self, name: str) -> dict:
        return dict(category_id=self.category_ids[name], category_name=name)


class RowFile:
    """A JSON array that is written row by row, so that memory does not grow with its length.

    Until it is complete it is named `<name>.part`; an interrupted run leaves its rows there.

    Attributes:
        count: Number of rows so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._part = path.with_name(f'{path.name}.part')

    def __enter__(self) -> RowFile:
        """Start the array."""
        self._file = self._part.open('w')
        self._file.write('[')
        return self

    def add(self, rows: Iterable[dict]) -> None:
        """Write rows."""
        for row in rows:
            self._file.write(',\n' if self.count else '')
            json.dump(row, self._file)
            self.count += 1

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """End the array, and rename the file to its final name unless there was an error."""
        with self._file:
            self._file.write(']')
        if error is None:
            self._part.replace(self.path)
        elif not self.count:
            self._part.unlink()


def coco_category_ids(classes: Sequence[str]) -> list[int]:
    """Return the category id of each class: COCO's own for its 80 classes, else numbered from 1."""
    from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights

    official = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta['categories']
    names = {name: i for i, name in enumerate(official) if name not in ('N/A', '__background__')}
    if set(classes) == set(names):
        return [names[name] for name in classes]
    return list(range(1, len(classes) + 1))
