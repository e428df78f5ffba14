"""Choose and cut random crops: the maths of the training transforms."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import cv2
import numpy as np

from ..annotations.overlaps import areas_of, pairwise_iou

Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, right and lower edge excluded

TRIES_PER_MODE = 50  # mmdet's


def sample_expansion(
    image_wh: tuple[int, int], ratio_range: tuple[float, float], prob: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sample a canvas and where the image is on it, with the random numbers of mmdet's `Expand`.

    Returns:
        Width and height of the canvas; left and top edge of the image on it, in pixels.
    """
    w, h = image_wh
    if np.random.uniform(0, 1) > prob:
        return image_wh, (0, 0)
    ratio = np.random.uniform(*ratio_range)
    left = int(np.random.uniform(0, w * ratio - w))
    top = int(np.random.uniform(0, h * ratio - h))
    return (int(w * ratio), int(h * ratio)), (left, top)


def sample_crop(
    boxes: np.ndarray,
    canvas_wh: tuple[int, int],
    min_ious: Sequence[float],
    min_crop_size: float,
    max_rounds: int,
) -> Window | None:
    """Sample a crop with the random numbers and the result of mmdet's `MinIoURandomCrop`.

    Args:
        boxes: `(N, 4)` float32 xyxy on the canvas.
        canvas_wh: Width and height of the canvas in pixels.
        min_ious: One of these, or "any crop", or "no crop" is drawn in each round.
        min_crop_size: Smallest side of the crop as a share of the canvas.
        max_rounds: "No crop" is used after this many rounds; mmdet would continue.

    Returns:
        The crop, or `None` for the whole canvas.
    """
    w, h = canvas_wh
    modes = (1, *min_ious, 0)
    if len(boxes):
        smallest = float(areas_of(boxes).min()) * (1 + 1e-5)  # more than float32's rounding error
        right, lower, left, upper = *boxes[:, 2:].min(0).tolist(), *boxes[:, :2].max(0).tolist()
    draw = np.random.random_sample
    for _ in range(max_rounds):
        min_iou = modes[np.random.randint(len(modes))]
        if min_iou == 1:
            return None
        for _ in range(TRIES_PER_MODE):
            new_w = min_crop_size * w + (w - min_crop_size * w) * draw()
            new_h = min_crop_size * h + (h - min_crop_size * h) * draw()
            if new_h / new_w < 0.5 or new_h / new_w > 2:
                continue
            # mmdet calls uniform(w - new_w), whose upper limit is the default, 1.
            x = w - new_w + (1.0 - (w - new_w)) * draw()
            y = h - new_h + (1.0 - (h - new_h)) * draw()
            x1, y1, x2, y2 = crop = int(x), int(y), int(x + new_w), int(y + new_h)
            if x2 == x1 or y2 == y1:
                continue
            if len(boxes) == 0:
                return crop
            if min_iou > 0:
                # Most crops miss a box or are too large for the smallest, so few IoUs are needed.
                if x1 >= right or y1 >= lower or x2 <= left or y2 <= upper:
                    continue
                if smallest < min_iou * (x2 - x1) * (y2 - y1):
                    continue
                # In float32, as mmdet computes it.
                if pairwise_iou(np.array([crop], np.float32), boxes).min() < min_iou:
                    continue
            if centres_inside(boxes, crop).any():
                return crop
    return None


def centres_inside(boxes: np.ndarray, crop: Window) -> np.ndarray:
    """Return `(N,)`: which of the boxes `(N, 4)` xyxy have their centre inside the crop."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return ((centres > np.array(crop[:2])) & (centres < np.array(crop[2:]))).all(1)


def reduction_of(window: Window, size_wh: tuple[int, int]) -> int:
    """Return the largest of 8, 4, 2, 1 by which the image can shrink without upsampling later.

    Example:
        >>> reduction_of((-300, 0, 700, 700), (320, 320))
        2
    """
    x1, y1, x2, y2 = window
    fits = min((x2 - x1) / size_wh[0], (y2 - y1) / size_wh[1])
    return next((factor for factor in (8, 4, 2) if factor <= fits), 1)


def resample_window(
    img: np.ndarray,
    window: Window,
    size_wh: tuple[int, int],
    fill: Sequence[float],
    reduction: int = 1,
) -> np.ndarray:
    """Resample a window of an image, bilinear; only the visible part of the image is computed.

    A window inside the image gives the same as `cv2.resize` of that crop. One that extends past it
    gives the same as `cv2.resize` on a canvas of `fill`, except for rounding and the outermost
    pixels of an enlarged window, which blend with the pixels next to the window.

    Args:
        img: `(H, W, C)`, C up to 4.
        window: In pixels of the full image; may lie partly or wholly outside.
        size_wh: Width and height of the result.
        fill: C values for what lies outside the image.
        reduction: The full image is this many times the size of `img`.

    Returns:
        `(size_h, size_w, C)` of the type of `img`.
    """
    x1, y1, x2, y2 = window
    height, width = img.shape[:2]
    if reduction == 1 and x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
        return cv2.resize(img[y1:y2, x1:x2], size_wh, interpolation=cv2.INTER_LINEAR)
    step_x, offset_x, left, right = _seen(x1, x2, size_wh[0], width, reduction)
    step_y, offset_y, top, bottom = _seen(y1, y2, size_wh[1], height, reduction)
    seen = cv2.warpAffine(
        img,
        np.array([[step_x, 0, offset_x], [0, step_y, offset_y]]),
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill,
    )
    around = (top, size_wh[1] - bottom, left, size_wh[0] - right)
    return cv2.copyMakeBorder(seen, *around, cv2.BORDER_CONSTANT, value=fill)


def _seen(
    start: int, stop: int, size: int, length: int, reduction: int
) -> tuple[float, float, int, int]:
    """Find, along one axis, the pixels of the result to which the image contributes.

    Returns:
        Step from one pixel of the result to the next, on the (reduced) image; position of the first
        such pixel on that image; its index; the index after the last one.
    """
    step = (stop - start) / (size * reduction)
    origin = start / reduction + 0.5 * step - 0.5
    first = min(max(0, ceil((-1 - origin) / step)), size - 1)
    last = min(max(first + 1, floor((length - origin) / step) + 1), size)
    return step, origin + first * step, first, last
