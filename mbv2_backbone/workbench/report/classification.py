"""The report's section on the classes of whole images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.structures import BaseDataElement

from ..configs.summary import Classes
from .ranking import Extremes, RankedImage


class ClassCollector:
    """Collects what the report says about the class of each image.

    Args:
        classes: Classes of the images.
    """

    def __init__(self, classes: Classes) -> None:
        self.classes = classes.names
        self.confusion = np.zeros((len(self.classes),) * 2, np.int64)
        self.extremes = Extremes()

    def add(self, sample: BaseDataElement) -> None:
        """Add the prediction of an image whose class is known."""
        if 'gt_label' not in sample:
            return
        scores = sample.pred_scores.cpu().numpy()
        truth, found = int(sample.gt_label), int(scores.argmax())
        self.confusion[truth, found] += 1
        facts = dict(
            truth=self.classes[truth],
            prediction=self.classes[found],
            score=round(float(scores[found]), 4),
        )
        rank = (float(scores[truth]),)
        self.extremes.add(
            rank, lambda: RankedImage(sample.img_path, sample.ori_shape, rank, facts, None)
        )

    def merge(self, others: Sequence[ClassCollector]) -> None:
        """Add what other processes collected."""
        self.extremes.merge(other.extremes for other in others)
        self.confusion += sum(other.confusion for other in others)

    def report(self, *, metrics: Mapping[str, float]) -> dict:
        """Return the numbers of the report; all can be written as JSON.

        Args:
            metrics: Values of the runner's metric.
        """
        right = self.confusion.diagonal()
        rows = [
            dict(
                name=name,
                images=int(images),
                recall=100 * right[label] / images if images else None,
                precision=100 * right[label] / found if found else None,
            )
            for label, (name, images, found) in enumerate(
                zip(self.classes, self.confusion.sum(1), self.confusion.sum(0), strict=True)
            )
        ]
        of_classes = {f'accuracy/{name}' for name in self.classes}
        return dict(
            task='classification',
            metrics={key: value for key, value in metrics.items() if key not in of_classes},
            has_truth=True,
            classes=rows,
            confusion=dict(names=list(self.classes), counts=self.confusion.tolist()),
        )
