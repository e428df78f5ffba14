"""Accuracy and confusion of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


@METRICS.register_module()
class ClassAccuracy(BaseMetric):
    """Share of the images whose class is among the likeliest, in percent, and the confusion.

    The result has `accuracy/top1` and so on, and for up to 50 classes `accuracy/<class>`: of the
    images of a class, the share with that prediction.

    Args:
        topk: Numbers of likeliest classes; those from the number of classes on are left out.
        **kwargs: As for mmengine's `BaseMetric`.

    Attributes:
        confusion: Of the last evaluation: images by class (row) and prediction (column),
            `(C, C)`; `None` before.
    """

    default_prefix = 'accuracy'
    max_listed = 50

    def __init__(self, *, topk: Sequence[int] = (1, 5), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.topk = tuple(topk)
        self.confusion: np.ndarray | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:  # noqa: ARG002
        """Keep label, prediction, rank of the label and number of classes of each image."""
        for sample in data_samples:
            scores, label = sample['pred_scores'].cpu().numpy(), int(sample['gt_label'])
            self.results.append((label, int(scores.argmax()), rank(scores, label), len(scores)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the shares from what `process` kept."""
        labels, predicted, ranks, numbers = np.array(results).T
        number = int(numbers[0])
        flat = np.bincount(labels * number + predicted, minlength=number**2)
        self.confusion = flat.reshape(number, number)
        metrics = {
            f'top{k}': round(float((ranks < k).mean()) * 100, 2)
            for k in self.topk
            if k == 1 or k < number
        }
        if number <= self.max_listed:
            classes = (self.dataset_meta or {}).get('classes') or map(str, range(number))
            for name, row, right in zip(
                classes, self.confusion.sum(1), self.confusion.diagonal(), strict=True
            ):
                if row:
                    metrics[name] = round(float(right / row) * 100, 2)
        return metrics


def rank(scores: np.ndarray, label: int) -> int:
    """Return how many classes come before a label; of equal scores the first class does.

    Args:
        scores: `(C,)`. Where one is not finite, all classes come before.
        label: The class.
    """
    if not np.isfinite(scores).all():
        return len(scores)
    own = scores[label]
    return int((scores > own).sum() + (scores[:label] == own).sum())
