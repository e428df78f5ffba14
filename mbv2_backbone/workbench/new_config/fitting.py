"""Choose input size, batch size, schedule and priors for a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch

from ...det.priors import ssdlite_shapes
from ..data.records import Record
from .prior_fit import feature_sizes, fit_shapes, prior_recall

LR = 0.002  # for AdamW, with the largest batch
_IMAGES_SEEN = 20_000  # images that a whole run is to see, if the passes stay within these limits
_MIN_PASSES, _MAX_PASSES = 24, 60
# From trained weights (docs/accuracy.md): fewer passes, and for a detector more steps.
_TRAINED_IMAGES_SEEN = 10_000
_TRAINED_MIN_PASSES, _TRAINED_MAX_PASSES = 12, 40
TRAINED_STEPS, _TRAINED_BATCH = 2000, 4
_MIN_EPOCH = 50  # iterations; restarting loaders and validating take time, too
_MAX_WARMUP = 500
_DET_SIZE, _LARGE_DET_SIZE = 320, 512
_SEG_SIZE = 512
_CLS_SIZE, _MIN_CLS_SIZE = 224, 64
_MIN_SIZE = 96
_SMALL_BOX = 16  # side in pixels of the input
_ZOOMS = (0.85, 1.0, 1.2)  # scales of the boxes in training, relative to those at test time
_MAX_WEIGHT = 10.0  # largest loss weight of a class of pixels
_IOU_THR = 0.5  # a prior with at least this IoU matches a box
_LOST_RECALL = 0.05  # that a trained head's priors may cost
_MAX_BOXES = 2000  # recall is measured on at most this many boxes
_MAX_LEVELS, _PAPERS_LEVELS = 5, 6


@dataclass(frozen=True)
class Schedule:
    """How long to train.

    Attributes:
        batch_size: Images per step.
        repeat: Passes over the images per epoch.
        epochs: Number of epochs.
        max_iters: Total number of steps.
        warmup: Steps in which the learning rate rises; 0 if there are too few steps for that.
        lr: The learning rate after them.
    """

    batch_size: int
    repeat: int
    epochs: int
    max_iters: int
    warmup: int
    lr: float


def plan_schedule(
    num_images: int,
    *,
    max_batch: int,
    passes: int | None = None,
    is_trained: bool = False,
    min_steps: int = 0,
) -> Schedule:
    """Choose batch size, epochs and learning rate from the number of training images.

    Args:
        num_images: At least 1.
        max_batch: The largest batch size, a power of 2.
        passes: Passes over the images, at least 1; by default 24 to 60, about 20000 images in all,
            and from trained weights 12 to 40, about 10000.
        is_trained: Whether training starts from trained weights.
        min_steps: The largest batch is halved, down to 4, where there would be fewer steps.

    Returns:
        A schedule of exactly this many passes.

    Example:
        >>> plan_schedule(205, max_batch=16).max_iters
        765
    """
    images, fewest, most = _IMAGES_SEEN, _MIN_PASSES, _MAX_PASSES
    if is_trained:
        images, fewest, most = _TRAINED_IMAGES_SEEN, _TRAINED_MIN_PASSES, _TRAINED_MAX_PASSES
    wanted = passes or int(np.clip(round(images / num_images), fewest, most))
    while max_batch > _TRAINED_BATCH and wanted * num_images < min_steps * max_batch:
        max_batch //= 2
    batch = max_batch
    while batch > 2 and batch > num_images // 2:
        batch //= 2
    repeat = ceil(_MIN_EPOCH * batch / num_images)
    if passes is None:
        passes = wanted
        repeat = min(passes, repeat)
        epochs = round(passes / repeat)
    else:
        divisors = (i for i in range(1, passes + 1) if passes % i == 0)
        repeat = min(divisors, key=lambda divisor: abs(divisor - repeat))
        epochs = passes // repeat
    max_iters = epochs * max(1, num_images * repeat // batch)
    warmup = min(_MAX_WARMUP, max_iters // 20)
    return Schedule(
        batch_size=batch,
        repeat=repeat,
        epochs=epochs,
        max_iters=max_iters,
        warmup=warmup if warmup > 1 else 0,  # mmengine's LinearLR never ends a single step
        lr=LR * batch / max_batch,
    )


def det_size(image_sizes: np.ndarray, relative_wh: np.ndarray) -> int:
    """Choose the side of a detector's square input.

    320 as in the paper; 512 if more than a tenth of the boxes would be less than 16 pixels
    large; never more than the size of the images.

    Args:
        image_sizes: `(N, 2)` width and height of the images.
        relative_wh: `(M, 2)` width and height of the boxes relative to their images.
    """
    sides = np.sqrt(relative_wh.prod(-1))
    has_small = len(sides) and np.quantile(sides, 0.1) * _DET_SIZE < _SMALL_BOX
    longest = 32 * ceil(np.median(image_sizes.max(-1)) / 32)
    return int(max(_MIN_SIZE, min(longest, _LARGE_DET_SIZE if has_small else _DET_SIZE)))


def cls_size(image_sizes: np.ndarray) -> int:
    """Choose the side of a classifier's square input: 224 as in the paper, less for small images.

    Args:
        image_sizes: `(N, 2)` width and height of the images.
    """
    shorter = 32 * ceil(np.median(image_sizes.min(-1)) / 32)
    return int(max(_MIN_CLS_SIZE, min(_CLS_SIZE, shorter)))


def seg_size(image_sizes: np.ndarray, longest: int | None = None) -> tuple[int, int]:
    """Choose the width and height that images to segment are resized to fit in.

    Args:
        image_sizes: `(N, 2)` width and height of the images.
        longest: The longer side; by default that of the images, at most 512.

    Returns:
        The aspect ratio of the images if all have the same, else a square.
    """
    longest = longest or int(min(_SEG_SIZE, np.median(image_sizes.max(-1))))
    ratios = image_sizes[:, 0] / image_sizes[:, 1]
    if ratios.max() > 1.02 * ratios.min():
        return longest, longest
    scale = longest / image_sizes[0].max()
    width, height = (round(side * scale) for side in image_sizes[0])
    return width, height


def plan_class_weights(shares: Sequence[float]) -> tuple[float, ...]:
    """Weight the classes of pixels, so that rare ones are learned too.

    Args:
        shares: Share of the pixels of each class, in [0, 1]; they add up to 1.

    Returns:
        The inverse root of a class's share, at most 10; apart from that limit the mean over all
        pixels is 1, so that the learning rate still fits. 1 for a class without a pixel.

    Example:
        >>> plan_class_weights((0.81, 0.16, 0.03))
        (0.75, 1.68, 3.87)
    """
    weights = np.array([share**-0.5 if share > 0 else 1.0 for share in shares])
    weights /= np.dot(shares, weights) or 1.0
    weights[np.array(shares) == 0] = 1.0
    return tuple(round(float(weight), 2) for weight in weights.clip(max=_MAX_WEIGHT))


def padded(side: int) -> int:
    """Return the next size of 16 k + 1, whose feature maps align with the corners of the image."""
    return 16 * ceil((side - 1) / 16) + 1


@dataclass(frozen=True)
class Priors:
    """Feature maps and their prior shapes.

    Attributes:
        shapes: For each map, relative to the input's shorter side.
        recall: Share of the boxes that are matched by a prior.
        default_recall: The same for the default priors, on the paper's maps.
    """

    shapes: list[list[tuple[float, float]]]
    recall: float
    default_recall: float


def plan_priors(
    records: Sequence[Record],
    size: int,
    *,
    strides: Sequence[int] = (8, 16, 32),
    trained: list[list[tuple[float, float]]] | None = None,
) -> Priors:
    """Fit priors to the boxes of a dataset.

    Args:
        records: The training images.
        size: Side of the square input.
        strides: Strides of the backbone's maps.
        trained: The priors of a trained head; they are kept unless fitted ones match many more
            boxes.
    """
    rows = [box for record in records for box in record.relative_boxes]
    boxes = np.array(rows, np.float32).reshape(-1, 4) * size  # xyxy in pixels of the input
    wh = np.concatenate([(boxes[:, 2:] - boxes[:, :2]) * zoom for zoom in _ZOOMS]).clip(max=size)
    some = boxes[np.random.default_rng(0).permutation(len(boxes))[:_MAX_BOXES]]

    def recall_of(shapes: list, strides: Sequence[int], num_levels: int) -> float:
        levels = feature_sizes((size, size), strides, num_levels)
        levels += levels[-1:] * (len(shapes) - len(levels))  # a trained head's, at a smaller size
        some_boxes = torch.from_numpy(some)
        return prior_recall(some_boxes, shapes, (size, size), levels, iou_thr=_IOU_THR)

    levels = feature_sizes((size, size), strides, _MAX_LEVELS)
    shapes = fit_shapes(wh, (size, size), levels, iou_thr=_IOU_THR)
    recall = recall_of(shapes, strides, _MAX_LEVELS)
    if trained is not None:
        trained_recall = recall_of(trained, strides, len(trained))
        if trained_recall > recall - _LOST_RECALL:
            shapes, recall = trained, trained_recall
    papers = feature_sizes((size, size), (16, 32), _PAPERS_LEVELS)
    default_shapes = [level.tolist() for level in ssdlite_shapes(len(papers))]
    return Priors(shapes, recall, recall_of(default_shapes, (16, 32), _PAPERS_LEVELS))
