"""Draw predictions: boxes, masks with a legend, and the classes of whole images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import mmcv
import numpy as np
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from ...annotations.images import decode_image
from ...common.files import result_path
from ...deploy.predictor import NUM_LIKELIEST, likeliest_of
from ..configs.summary import Classes, ConfigSummary, summarise
from .pixels import caption_strip, draw_boxes, legend_strip, overlay

NUM_DRAWN_CLASSES = 3


@dataclass(frozen=True, kw_only=True)
class Painter:
    """Draws the contents of a data sample: masks with a legend, boxes, or both, or image classes.

    Attributes:
        boxes: Classes of the boxes.
        masks: Classes of the masks.
        images: Classes of whole images.
        score_thr: Boxes below it are not drawn.
    """

    boxes: Classes
    masks: Classes
    images: Classes = field(default_factory=Classes)
    score_thr: float = 0.3

    def prediction(
        self, image: np.ndarray, sample: BaseDataElement, *, whole_legend: bool = False
    ) -> np.ndarray:
        """Draw the prediction, with the legend below the image.

        Args:
            image: `(H, W, 3)` uint8 BGR.
            sample: mmdet's or mmseg's data sample.
            whole_legend: Whether the legend has all classes, not only those that occur. Then
                drawings of images of the same size have the same size, as video frames must.

        Returns:
            `(H', W', 3)` uint8 BGR, H' >= H and W' >= W.
        """
        drawing = self.draw(image, sample, 'pred')
        labels = mask_labels(sample, 'pred_sem_seg')
        if labels is not None:
            shown = range(len(self.masks.names)) if whole_legend else np.unique(labels)
            drawing = self._with_legend(drawing, shown, size_hw=image.shape[:2])
        return self._with_classes(drawing, sample, size_hw=image.shape[:2])

    def comparison(self, image: np.ndarray, sample: BaseDataElement) -> np.ndarray:
        """Draw the ground truth and the prediction side by side, with one legend.

        Args:
            image: `(H, W, 3)` uint8 BGR.
            sample: A data sample with masks; without ground truth only the prediction is drawn.

        Returns:
            `(H', W', 3)` uint8 BGR.
        """
        truth = mask_labels(sample, 'gt_sem_seg')
        if truth is None:
            return self.prediction(image, sample)
        size_hw = image.shape[:2]
        gap = np.full((size_hw[0], max(4, size_hw[1] // 60), 3), 255, np.uint8)
        panels = [self.draw(image, sample, 'gt'), gap, self.draw(image, sample, 'pred')]
        captions = [('truth', 0), ('prediction', size_hw[1] + gap.shape[1])]
        drawing = np.concatenate(panels, axis=1)
        drawing = np.concatenate([caption_strip(captions, drawing.shape[1], size_hw), drawing])
        shown = np.union1d(truth, mask_labels(sample, 'pred_sem_seg'))
        drawing = self._with_legend(drawing, shown, size_hw=size_hw)
        return self._with_classes(drawing, sample, size_hw=size_hw)

    def draw(self, image: np.ndarray, sample: BaseDataElement, side: str) -> np.ndarray:
        """Draw the ground truth (`gt`) or the prediction (`pred`), masks below boxes, no legend."""
        labels = mask_labels(sample, f'{side}_sem_seg')
        if labels is not None:
            if labels.shape != image.shape[:2]:  # ground truth that was resized with its image
                labels = mmcv.imresize(labels, image.shape[1::-1], interpolation='nearest')
            image = overlay(image, labels, self.masks.palette)
        key = f'{side}_instances'
        return self._with_boxes(image, sample.get(key).cpu()) if key in sample else image

    def _with_boxes(self, image: np.ndarray, found: InstanceData) -> np.ndarray:
        if 'scores' in found:
            found = found[found.scores >= self.score_thr]
        labels = found.labels.tolist()
        names = [self.boxes.names[label] for label in labels]
        if 'scores' in found:
            scores = found.scores.tolist()
            names = [f'{name} {score:.2f}' for name, score in zip(names, scores, strict=True)]
        colours = [self.boxes.palette[label] for label in labels]
        return draw_boxes(image, found.bboxes.numpy(), names, colours)

    def _with_classes(
        self, drawing: np.ndarray, sample: BaseDataElement, *, size_hw: tuple[int, int]
    ) -> np.ndarray:
        """Write the likeliest classes below the image, and the true one if it is known."""
        if 'pred_scores' not in sample:
            return drawing
        names, palette = self.images.names, self.images.palette
        drawn = likeliest(sample, NUM_DRAWN_CLASSES)
        entries = [(f'{names[k]} {score:.2f}', palette[k]) for k, score in drawn]
        if 'gt_label' in sample:
            truth = int(sample.gt_label)
            entries.append((f'truth: {names[truth]}', palette[truth]))
        return self._below(drawing, entries, size_hw=size_hw)

    def _with_legend(
        self, drawing: np.ndarray, labels: Sequence[int], *, size_hw: tuple[int, int]
    ) -> np.ndarray:
        labels = [int(label) for label in labels if label < len(self.masks.names)]
        entries = [(self.masks.names[label], self.masks.palette[label]) for label in labels]
        return self._below(drawing, entries, size_hw=size_hw)

    def _below(
        self,
        drawing: np.ndarray,
        entries: Sequence[tuple[str, Sequence[int]]],
        *,
        size_hw: tuple[int, int],
    ) -> np.ndarray:
        strip = legend_strip(entries, drawing.shape[1], size_hw)
        margin = strip.shape[1] - drawing.shape[1]
        drawing = np.pad(drawing, ((0, 0), (0, margin), (0, 0)), constant_values=255)
        return np.concatenate([drawing, strip])


@HOOKS.register_module()
class PictureHook(Hook):
    """Writes ground truth and prediction of each test image side by side: `<folder>/<name>.jpg`.

    Args:
        folder: Where the drawings go.
        image_root: Folder of the images; folders below it are kept below `folder`.
    """

    def __init__(self, *, folder: str, image_root: str | None = None) -> None:
        self.folder = folder
        self.image_root = image_root

    def before_test_epoch(self, runner: Runner) -> None:
        """Take the names and colours of the classes from the dataset."""
        summary = summarise(runner.cfg)
        self.painter = painter_of(summary)

    def after_test_iter(
        self,
        runner: Runner,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        data_batch: dict | None = None,  # noqa: ARG002
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw one batch."""
        for sample in outputs:
            image = decode_image(get(sample.img_path), tuple(sample.ori_shape[1::-1]))
            drawing = self.painter.comparison(image, sample)
            path = result_path(sample.img_path, self.image_root, self.folder, '.jpg')
            cv2.imwrite(str(path), drawing)


def painter_of(summary: ConfigSummary, score_thr: float = 0.3) -> Painter:
    """Return what draws the predictions of a config's model."""
    boxes, masks, images = summary.box_classes(), summary.mask_classes(), summary.image_classes()
    return Painter(boxes=boxes, masks=masks, images=images, score_thr=score_thr)


def likeliest(sample: BaseDataElement, count: int = NUM_LIKELIEST) -> list[tuple[int, float]]:
    """Return label and score of the likeliest classes of a whole image, the best first."""
    return likeliest_of(sample.pred_scores.cpu().numpy(), count)


def mask_labels(sample: BaseDataElement, key: str) -> np.ndarray | None:
    """Return the label of each pixel `(H, W)` uint8 of `pred_sem_seg` or `gt_sem_seg`."""
    labels = mask_tensor(sample, key)
    return None if labels is None else labels.cpu().numpy().astype(np.uint8)


def mask_tensor(sample: BaseDataElement, key: str) -> Tensor | None:
    """Return the label of each pixel `(H, W)` of `pred_sem_seg` or `gt_sem_seg`, if present."""
    if key not in sample:
        return None
    field = sample.get(key)
    labels = field.sem_seg if 'sem_seg' in field else field.data  # mmdet's name and mmseg's
    return labels.squeeze(0)
