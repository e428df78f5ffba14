"""The report's mask section: collect data per image and summarise it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from ...annotations.images import imdecode
from ..configs.summary import Classes
from ..drawing.painter import mask_tensor
from .ranking import Extremes, RankedImage


def confusion_of_pixels(
    predicted: Tensor, truth: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Count the pixels of each pair of true and predicted class.

    Args:
        predicted: Labels of the pixels, of any shape, below `num_classes`.
        truth: Ground truth of the same shape. Labels that are not a class are not counted.
        num_classes: Number of classes.
        ignore_index: Pixels with this label in the ground truth are not counted.

    Returns:
        `(C, C)` int64: rows are the ground truth, columns the prediction.
    """
    kept = (truth != ignore_index) & (truth < num_classes)
    pairs = truth[kept].long() * num_classes + predicted[kept].long()
    return pairs.bincount(minlength=num_classes**2).reshape(num_classes, num_classes)


def mean_iou(confusion: np.ndarray) -> float:
    """Return the mean IoU over the classes in the ground truth; 1 if there are none."""
    right, truth = np.diag(confusion), confusion.sum(axis=1)
    union = truth + confusion.sum(axis=0) - right
    there = truth > 0
    return float((right[there] / union[there]).mean()) if there.any() else 1.0


class MaskCollector:
    """Collects what the report says about the masks of each image.

    Args:
        classes: Classes of the masks.
        ignore_index: Label of pixels that are not counted.
    """

    def __init__(self, classes: Classes, *, ignore_index: int) -> None:
        self.classes, self.palette = classes.names, classes.palette
        self.ignore_index = ignore_index
        self.has_truth = False
        self.confusion = np.zeros((len(self.classes),) * 2, np.int64)
        self.extremes = Extremes()

    def add(self, sample: BaseDataElement) -> None:
        """Add the predictions of an image."""
        predicted, truth = (mask_tensor(sample, f'{side}_sem_seg') for side in ('pred', 'gt'))
        rank: tuple[float, ...] = (0.0,)
        facts = {}
        if truth is not None:
            self.has_truth = True
            truth = truth.to(predicted.device)
            counts = confusion_of_pixels(predicted, truth, len(self.classes), self.ignore_index)
            confusion = counts.cpu().numpy()
            self.confusion += confusion
            right = float(np.trace(confusion) / max(1, confusion.sum()))
            rank = (mean_iou(confusion), right)
            facts = dict(miou=round(100 * rank[0], 2), pixels_right=round(100 * right, 2))
        self.extremes.add(
            rank,
            lambda: RankedImage(
                sample.img_path,
                tuple(predicted.shape),
                rank,
                facts,
                # Masks are kept as PNG: a hundredth of their size.
                tuple(mask if mask is None else _to_png(mask) for mask in (truth, predicted)),
            ),
        )

    def merge(self, others: Sequence[MaskCollector]) -> None:
        """Add what other processes collected."""
        self.extremes.merge(other.extremes for other in others)
        for other in others:
            self.confusion += other.confusion
            self.has_truth |= other.has_truth

    def report(self, *, metrics: Mapping[str, float], prefix: str | None) -> dict:
        """Return the numbers of the report; all can be written as JSON.

        Args:
            metrics: Values of the runner's metric.
            prefix: Prefix of that metric's names.
        """
        start = f'{prefix}/' if prefix else ''
        pixels = self.confusion.sum(axis=1)
        rows = [
            dict(
                name=name,
                iou=metrics.get(f'{start}IoU/{name}'),
                acc=metrics.get(f'{start}Acc/{name}'),
                pixels=int(pixels[label]),
            )
            for label, name in enumerate(self.classes)
        ]
        of_classes = {f'{start}{key}/{name}' for key in ('IoU', 'Acc') for name in self.classes}
        return dict(
            task='segmentation',
            metrics={key: value for key, value in metrics.items() if key not in of_classes},
            has_truth=self.has_truth,
            classes=rows,
            palette=[[int(channel) for channel in colour] for colour in self.palette],
            confusion=dict(names=list(self.classes), counts=self.confusion.tolist()),
        )


def _to_png(mask: Tensor) -> bytes:
    return cv2.imencode('.png', mask.to(torch.uint8).cpu().numpy())[1].tobytes()


def from_png(data: bytes) -> np.ndarray:
    """Decode a kept mask to `(H, W)` uint8."""
    return imdecode(data, cv2.IMREAD_UNCHANGED)
