"""mmdet's COCO metric, matching in C++ where faster-coco-eval is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.evaluation.metrics import coco_metric
from mmdet.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from . import numbered
from .numbered import NumberedTruth

OWN_METRICS = {'CocoMetric': 'FastCocoMetric'} | numbered.OWN_METRICS  # by the stock name


def installed_backends() -> list[str]:
    """Return the modules that can match detections here, the fastest one first."""
    return [name for name in ('faster_coco_eval', 'pycocotools') if find_spec(name)]


@METRICS.register_module()
class FastCocoMetric(NumberedTruth, CocoMetric):
    """mmdet's `CocoMetric` with the same results in less time, also for ids that it misreads.

    With `classwise` it also returns the AP at IoU 0.5 of each class, which mmdet only logs.

    Args:
        backend: `faster_coco_eval` or `pycocotools`; `None` means the first that is installed.
        **kwargs: As for `CocoMetric`, see `NumberedTruth`.

    Attributes:
        precision: Of the last evaluation of boxes, see `precision_of_labels`; `None` if there was
            none.

    Raises:
        ValueError: If `backend` is unknown or not installed.
    """

    def __init__(self, *, backend: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.precision: np.ndarray | None = None
        self._kept: dict[str, list[dict]] | None = None
        installed = installed_backends()
        self.backend = backend or installed[0]
        if self.backend not in installed:
            raise ValueError(
                f'backend must be one of {", ".join(installed)}, which are installed, not '
                f'{backend!r}; `pip install faster-coco-eval` adds faster_coco_eval'
            )

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict[str, str]:
        """Write the same file as mmdet, which encodes it row by row and takes far longer.

        While metrics are computed from it and it is not to stay, its rows are kept in memory.

        Args:
            results: For each image `img_id`, `bboxes` `(D, 4)` xyxy, `scores` and `labels`.
            outfile_prefix: The file's path without `.bbox.json`.

        Returns:
            The file's path by metric.
        """
        if 'masks' in results[0]:
            return super().results2json(results, outfile_prefix)
        rows = []
        for index, result in enumerate(results):
            image_id = result.get('img_id', index)
            upper_left, lower_right = np.split(result['bboxes'].astype(np.float64), 2, axis=1)
            boxes = np.hstack([upper_left, lower_right - upper_left]).tolist()
            columns = boxes, result['scores'].tolist(), result['labels'].tolist()
            rows += [
                dict(image_id=image_id, bbox=box, score=score, category_id=self.cat_ids[label])
                for box, score, label in zip(*columns, strict=True)
            ]
        path = Path(f'{outfile_prefix}.bbox.json')
        if self._kept is None or self.outfile_prefix is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows), encoding='utf-8')
        else:
            self._kept[str(path)] = rows
        return dict(bbox=str(path), proposal=str(path))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics; see mmdet. Without a single detection they are 0, not missing."""
        evaluations = []
        has_boxes = any(len(prediction['bboxes']) for _, prediction in results)
        if self.metrics == ['bbox'] and not has_boxes:
            results = with_a_detection(results)

        def evaluation(truth: COCO, *args: Any) -> COCOeval:
            evaluations.append(eval_class(self.backend)(truth, *args))
            return evaluations[-1]

        def load(path: str) -> list[dict]:
            # The evaluation of one metric adds to the rows, so each has its own.
            return list(map(dict, self._kept[path])) if path in self._kept else load_file(path)

        precision, classes = None, self.dataset_meta['classes']
        load_file, self._kept = coco_metric.load, {}
        # mmdet takes both from these names of its module and has no argument for them.
        try:
            with patch.multiple(coco_metric, COCOeval=evaluation, load=load):
                metrics = super().compute_metrics(results)
        finally:
            self._kept = None
        for done in evaluations:
            if done.params.iouType == 'bbox' and done.params.useCats:
                precision = precision_of_labels(done, range(1, len(classes) + 1))
        if self.classwise and precision is not None and self.iou_thrs[0] == 0.5:
            metrics |= class_ap50(precision, classes)
        self.precision = precision if has_boxes else None
        return metrics


def with_a_detection(results: Sequence[tuple[dict, dict]]) -> list[tuple[dict, dict]]:
    """Add a wrong box of score 0 to the first image of results that have no box at all.

    pycocotools cannot read an empty list, and mmdet then gives no metrics, so that the hook that
    keeps the best checkpoint ends the training. The wrong box changes no metric: all are 0.

    Args:
        results: For each image ground truth and prediction: `bboxes` `(D, 4)`, `scores`, `labels`.
    """
    if not results:
        return []
    (truth, prediction), *others = results
    outside = dict(
        bboxes=np.array([[-2.0, -2.0, -1.0, -1.0]], np.float32),
        scores=np.zeros(1, np.float32),
        labels=np.zeros(1, np.int64),
    )
    return [(truth, prediction | outside), *others]


def precision_of_labels(evaluation: COCOeval, category_ids: Sequence[int]) -> np.ndarray:
    """Return the precision of an evaluation, at its largest number of detections.

    Args:
        evaluation: After `accumulate`.
        category_ids: The category of each label.

    Returns:
        `(T, 101, C, 4)`: by IoU threshold, recall from 0 to 1, label, and area (all, small,
        medium, large); -1 where there is no ground truth.
    """
    columns = [list(evaluation.params.catIds).index(category) for category in category_ids]
    return evaluation.eval['precision'][..., -1][:, :, columns]


def class_ap50(precision: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Return the AP at IoU 0.5 of each class with ground truth, as `<class>_50_precision`.

    Args:
        precision: As returned by `precision_of_labels`; its first IoU threshold must be 0.5.
        classes: Names of the labels.
    """
    columns = dict(zip(classes, precision[0, :, :, 0].T, strict=True))
    return {
        f'{name}_50_precision': round(float(column.mean()), 3)
        for name, column in columns.items()
        if (column > -1).all()
    }


def eval_class(backend: str) -> type:
    """Return the class that matches: pycocotools', or one in C++ with the same summary.

    The summary of faster-coco-eval takes mAP over up to 1000 detections per image, not over 100.
    """
    if backend == 'pycocotools':
        return COCOeval
    from faster_coco_eval import COCOeval_faster

    members = dict(summarize=COCOeval.summarize, print_function=staticmethod(print))
    return type('FastCOCOeval', (COCOeval_faster,), members)
