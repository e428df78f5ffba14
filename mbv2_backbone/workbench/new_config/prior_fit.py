"""Fit prior shapes to the boxes of a dataset, and compute their recall."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from ...annotations.overlaps import pairwise_iou
from ...det.priors import Size, grid_priors
from ...det.targets import pairwise_overlaps

MAX_SHAPES = 6  # priors per cell
_ROUNDS = 50
_CHUNK = 256


def feature_sizes(input_size: Size, strides: Sequence[int], num_levels: int) -> list[Size]:
    """Return height and width of each level's feature map.

    Args:
        input_size: Height and width of the network input.
        strides: Strides of the backbone's levels; each further level halves the last one.
        num_levels: Number of levels; fewer are returned if a level would be no smaller.

    Example:
        >>> feature_sizes((320, 320), (16, 32), 6)
        [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    """
    sizes = [tuple(-(-side // stride) for side in input_size) for stride in strides]
    while len(sizes) < num_levels and max(sizes[-1]) > 1:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    return sizes


def smallest_matched(stride: float, iou_thr: float) -> float:
    """Return the side of the smallest square that a prior of its shape matches at any position.

    The centre of a box is at most half a stride from that of a prior, in x and in y. Two squares
    of side s, shifted by d in both, have the IoU (s - d)^2 / (2 s^2 - (s - d)^2).

    Args:
        stride: Distance of the priors, in pixels.
        iou_thr: The lowest IoU of a match.

    Example:
        >>> round(smallest_matched(16, 0.5), 1)
        43.6
    """
    return stride / 2 / (1 - sqrt(2 * iou_thr / (1 + iou_thr)))


def shape_overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes that share their centre: `(N, 2)`, `(K, 2)` to `(N, K)`."""
    return pairwise_iou(*(np.hstack([np.zeros_like(wh), wh]) for wh in (first, second)))


def cluster_shapes(wh: np.ndarray, count: int) -> np.ndarray:
    """Find the shapes that overlap boxes best: k-means by IoU.

    Args:
        wh: `(N, 2)` width and height of boxes, N at least 1.
        count: Number of shapes; fewer are returned if there are fewer different boxes.

    Returns:
        `(K, 2)` sorted by area, K at most `count`.
    """
    different = np.unique(wh, axis=0)
    sides = np.sqrt(different.prod(-1))
    # Spread over the sizes, so that a few small boxes among many large ones also get a shape.
    wanted = np.linspace(sides.min(), sides.max(), min(count, len(different)) + 2)[1:-1]
    shapes = different[np.unique([np.abs(sides - side).argmin() for side in wanted])]
    for _ in range(_ROUNDS):
        nearest = shape_overlaps(wh, shapes).argmax(1)
        new = np.array([np.median(wh[nearest == i], axis=0) for i in np.unique(nearest)])
        if new.shape == shapes.shape and np.allclose(new, shapes):
            break
        shapes = new
    return shapes[np.argsort(shapes.prod(-1), kind='stable')]


def fit_shapes(
    wh: np.ndarray, input_size: Size, levels: Sequence[Size], *, iou_thr: float
) -> list[list[tuple[float, float]]]:
    """Fit prior shapes to boxes, level by level.

    A box belongs to the coarsest level on which a prior of its shape would match it at any
    position, a smaller one to the finest level. The number of shapes of a level, from 1 to 6, grows
    with its share of the boxes; a level without boxes gets one square.

    Args:
        wh: `(N, 2)` width and height of boxes in pixels of the input, above 0.
        input_size: Height and width of the network input.
        levels: Height and width of the feature maps, the finest first.
        iou_thr: The lowest IoU at which a prior matches a box.

    Returns:
        For each level its shapes, relative to the input's shorter side.
    """
    strides = [
        max(side / cells for side, cells in zip(input_size, level, strict=True)) for level in levels
    ]
    least = [smallest_matched(stride, iou_thr) for stride in strides]
    for index in range(1, len(levels)):
        if levels[index] == levels[index - 1]:  # with dilation: the larger half goes to the second
            least[index] *= sqrt(2)
    sides = np.sqrt(wh.prod(-1))
    level_of = np.searchsorted(least, sides, side='right') - 1
    level_of = level_of.clip(min=0)
    shapes = []
    for index, side in enumerate(least):
        own = wh[level_of == index]
        if not len(own):
            square = min(side / min(input_size), 0.95)
            shapes.append([(round(square, 3), round(square, 3))])
            continue
        # A tenth of the boxes justifies all six shapes of a cell.
        count = min(MAX_SHAPES, max(1, round(60 * len(own) / len(wh))))
        relative = cluster_shapes(own, count) / min(input_size)
        shapes.append([(round(float(w), 3), round(float(h), 3)) for w, h in relative])
    return shapes


def prior_recall(
    boxes: Tensor,
    shapes: Sequence[Sequence[tuple[float, float]]],
    input_size: Size,
    levels: Sequence[Size],
    *,
    iou_thr: float,
) -> float:
    """Return the share of boxes that at least one prior overlaps enough to match.

    Args:
        boxes: `(N, 4)` xyxy in pixels of the input.
        shapes: For each level, relative to the input's shorter side.
        input_size: Height and width of the network input.
        levels: Height and width of the feature maps.
        iou_thr: The lowest IoU at which a prior matches a box.

    Returns:
        In [0, 1]; 1 if there are no boxes.
    """
    in_pixels = [torch.tensor(level) * min(input_size) for level in shapes]
    priors = torch.cat(grid_priors(in_pixels, levels, input_size))
    best = [pairwise_overlaps(part, priors).amax(1) for part in boxes.float().split(_CHUNK)]
    return (torch.cat(best) >= iou_thr).float().mean().item() if len(boxes) else 1.0
