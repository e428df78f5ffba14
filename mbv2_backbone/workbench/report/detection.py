"""The report's box section: collect data per image and summarise it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement

from ...det.metrics import eval_class, installed_backends, precision_of_labels
from ...det.numbered import coco_of
from .box_matches import IOU_THR, SCORE_THR, Boxes, confusion_of, match_image
from .ranking import Extremes, RankedImage

AREAS = ('all', 'small', 'medium', 'large')
RECALLS = np.linspace(0, 1, 101)
BACKGROUND_NAME = 'background'


class BoxCollector:
    """Collects what the report says about the boxes of each image.

    Args:
        classes: Names of the labels.
        truths: The ground truth boxes of each image, by path.
        keep_all: Whether to keep all detections, to compute the precision from them.
    """

    def __init__(
        self, classes: Sequence[str], truths: Mapping[str, Boxes], *, keep_all: bool
    ) -> None:
        self.classes = classes
        self.truths = truths
        self.has_truth = any(len(boxes) for boxes in truths.values())
        self.confusion = np.zeros((len(classes) + 1,) * 2, np.int64)
        self.extremes = Extremes()
        self.num_found = 0
        self.all_found: dict[str, Boxes] | None = {} if keep_all else None

    def add(self, sample: BaseDataElement) -> None:
        """Add the predictions of an image."""
        predicted = sample.pred_instances
        found = Boxes(
            *(predicted[key].detach().cpu().numpy() for key in ('bboxes', 'labels', 'scores'))
        )
        self.num_found += len(found)
        if self.all_found is not None:
            self.all_found[sample.img_path] = found
        match = match_image(found, self.truths.get(sample.img_path, truth_of({})))
        rank: tuple[float, ...] = (0.0,)
        facts = {}
        if self.has_truth:
            self.confusion += confusion_of(match, len(self.classes))
            right, seen = int(match.is_right.sum()), int(match.is_seen.sum())
            wrong, missed = len(match.found) - right, len(match.truth) - seen
            rank = (match.f1, right - wrong - missed)
            facts = dict(f1=round(match.f1, 3), right=right, wrong=wrong, missed=missed)
        self.extremes.add(
            rank,
            lambda: RankedImage(sample.img_path, tuple(sample.ori_shape[:2]), rank, facts, match),
        )

    def merge(self, others: Sequence[BoxCollector]) -> None:
        """Add what other processes collected."""
        self.extremes.merge(other.extremes for other in others)
        for other in others:
            self.confusion += other.confusion
            self.num_found += other.num_found
            if self.all_found is not None:
                self.all_found |= other.all_found

    def report(
        self,
        *,
        metrics: Mapping[str, float],
        precision: np.ndarray | None,
        iou_thrs: Sequence[float],
    ) -> dict:
        """Return the numbers of the report; all can be written as JSON.

        Args:
            metrics: Values of the runner's metric; the AP of a class is listed with the class.
            precision: As `precision_of_labels` returns it; `None` computes it from all detections.
            iou_thrs: The IoU thresholds of the precision.
        """
        of_classes = tuple(f'{name}{at}_precision' for name in self.classes for at in ('', '_50'))
        is_own = precision is None and self.all_found is not None and self.has_truth
        if is_own:
            precision = precision_of_boxes(self.all_found, self.truths, len(self.classes))
            iou_thrs = np.linspace(0.5, 0.95, 10)
        return dict(
            task='detection',
            metrics={k: v for k, v in metrics.items() if not k.endswith(of_classes)},
            has_truth=self.has_truth,
            num_found=self.num_found,
            is_own_precision=is_own,
            score_thr=SCORE_THR,
            iou_thr=IOU_THR,
            classes=self._class_rows(precision, iou_thrs),
            curves=self._curves(precision, iou_thrs),
            confusion=dict(names=[*self.classes, BACKGROUND_NAME], counts=self.confusion.tolist()),
        )

    def _class_rows(self, precision: np.ndarray | None, iou_thrs: Sequence[float]) -> list[dict]:
        if precision is None:
            precision, iou_thrs = np.full((1, 101, len(self.classes), len(AREAS)), -1.0), ()
        truths = np.zeros(len(self.classes), np.int64)
        for boxes in self.truths.values():
            np.add.at(truths, boxes.labels[boxes.scores > 0], 1)
        rows = []
        for label, name in enumerate(self.classes):
            row: dict[str, Any] = dict(name=name, boxes=int(truths[label]))
            row |= class_figures(precision[:, :, label], iou_thrs)
            right = self.confusion[label, label]
            row['precision'] = _ratio(right, self.confusion[:, label].sum())
            row['recall'] = _ratio(right, self.confusion[label].sum())
            rows.append(row)
        return rows

    def _curves(self, precision: np.ndarray | None, iou_thrs: Sequence[float]) -> dict | None:
        """Return the precision over the recall at IoU 0.5 of each class with ground truth."""
        if precision is None:
            return None
        index = _index_of(iou_thrs, IOU_THR) or 0
        curves = {
            name: precision[index, :, label, 0].round(4).tolist()
            for label, name in enumerate(self.classes)
            if (precision[index, :, label, 0] >= 0).all()
        }
        return dict(iou_thr=float(iou_thrs[index]), recall=RECALLS.tolist(), precision=curves)


def class_figures(precision: np.ndarray, iou_thrs: Sequence[float]) -> dict[str, float | None]:
    """Return the AP of one class: over all IoUs, at IoU 0.5 and 0.75, and by box size.

    Args:
        precision: `(T, 101, 4)`; -1 where there is no ground truth.
        iou_thrs: `(T,)`.
    """
    halves = [_index_of(iou_thrs, value) for value in (0.5, 0.75)]
    ap_50, ap_75 = (None if i is None else _mean(precision[i, :, 0]) for i in halves)
    sizes = {f'ap_{name}': _mean(precision[:, :, 1 + i]) for i, name in enumerate(AREAS[1:])}
    return dict(ap=_mean(precision[:, :, 0]), ap_50=ap_50, ap_75=ap_75, **sizes)


def precision_of_boxes(
    found: Mapping[str, Boxes], truths: Mapping[str, Boxes], num_classes: int
) -> np.ndarray:
    """Compute the precision as COCO does, from the detections and ground truth of each image.

    Returns:
        As `precision_of_labels`.
    """
    ids = {path: index for index, path in enumerate(found)}
    content = dict(
        images=[dict(id=index) for index in ids.values()],
        categories=[dict(id=label, name=str(label)) for label in range(num_classes)],
        annotations=_as_annotations({path: truths[path] for path in found if path in truths}, ids),
    )
    results = dict(content, annotations=_as_annotations(found, ids))
    evaluation = eval_class(installed_backends()[0])(coco_of(content), coco_of(results), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    return precision_of_labels(evaluation, range(num_classes))


def _as_annotations(boxes: Mapping[str, Boxes], ids: Mapping[str, int]) -> list[dict]:
    rows = []
    for path, group in boxes.items():
        sides = np.hstack([group.xyxy[:, :2], group.xyxy[:, 2:] - group.xyxy[:, :2]])
        for box, label, score in zip(sides.tolist(), group.labels, group.scores, strict=True):
            rows.append(
                dict(
                    id=len(rows) + 1,
                    image_id=ids[path],
                    category_id=int(label),
                    bbox=box,
                    area=box[2] * box[3],
                    score=float(score),
                    iscrowd=int(score == 0),
                )
            )
    return rows


def _index_of(values: Sequence[float], value: float) -> int | None:
    places = np.flatnonzero(np.isclose(values, value))
    return int(places[0]) if len(places) else None


def _mean(values: np.ndarray) -> float | None:
    values = values[values >= 0]
    return round(float(values.mean()), 3) if values.size else None


def _ratio(part: int, whole: int) -> float | None:
    return round(float(part / whole), 3) if whole else None


def truth_of(sample: Mapping[str, Any]) -> Boxes:
    """Return the ground truth boxes of an image of mmdet's datasets."""
    boxes = sample.get('instances', ())
    return Boxes(
        np.array([box['bbox'] for box in boxes], np.float32).reshape(-1, 4),
        np.array([box['bbox_label'] for box in boxes], np.int64),
        np.array([1 - box.get('ignore_flag', 0) for box in boxes], np.float32),
    )
