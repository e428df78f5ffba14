"""mmdet's PhotoMetricDistortion, computed on uint8."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from mmdet.datasets.transforms import PhotoMetricDistortion
from mmdet.registry import TRANSFORMS


def distort_colours(
    img: np.ndarray,
    *,
    brightness: float = 0.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: float = 0.0,
    channel_order: Sequence[int] = (0, 1, 2),
) -> np.ndarray:
    """Change the colours of an image: `contrast * (img + brightness)`, then the rest in order.

    Args:
        img: `(H, W, 3)` uint8 BGR.
        brightness: Added value.
        contrast: Factor, at least 0.
        saturation: Factor of the saturation, which is clipped at its maximum.
        hue: Degrees by which the hue is rotated.
        channel_order: Which channel comes first, second, third.

    Returns:
        A new array, `(H, W, 3)` uint8, clipped to 0..255.
    """
    # Contrast commutes with the change of hue and saturation, so it goes where it clips least.
    is_hsv = saturation != 1 or hue != 0
    before = min(contrast, 1) if is_hsv else contrast
    img = cv2.addWeighted(img, before, img, 0, before * brightness)
    if is_hsv:
        h, s, v = cv2.split(cv2.cvtColor(img, cv2.COLOR_BGR2HSV_FULL))
        h += np.uint8(round(hue * 256 / 360) % 256)  # the full circle is 256: it wraps by itself
        s = cv2.addWeighted(s, saturation, s, 0, 0)
        img = cv2.cvtColor(cv2.merge((h, s, v)), cv2.COLOR_HSV2BGR_FULL)
        if contrast > 1:
            img = cv2.addWeighted(img, contrast, img, 0, 0)
    if tuple(channel_order) != (0, 1, 2):
        channels = cv2.split(img)
        img = cv2.merge([channels[i] for i in channel_order])
    return img


@TRANSFORMS.register_module()
class FastPhotoMetricDistortion(PhotoMetricDistortion):
    """mmdet's `PhotoMetricDistortion` on uint8: same arguments, same random numbers.

    It differs by rounding (on average below 1 of 255) and at the ends of the range: values below 0
    and above 255, which mmdet hands to the network, are clipped.

    Required and changed key: img, `(H, W, 3)` uint8 BGR.

    Raises:
        ValueError: The image is not uint8 with three channels.
    """

    def transform(self, results: dict) -> dict:
        """Distort the colours of the image."""
        img = results['img']
        if img.dtype != np.uint8 or img.ndim != 3 or img.shape[2] != 3:
            raise ValueError(
                f'{type(self).__name__} needs an image (H, W, 3) of uint8, got {img.shape} of '
                f'{img.dtype}; load it without to_float32, or use PhotoMetricDistortion'
            )
        _, *is_on, delta, contrast, saturation, hue, order = self._random_flags()
        is_brighter, is_contrasted, is_saturated, is_turned, is_swapped = is_on
        results['img'] = distort_colours(
            unflipped_view(img),
            brightness=delta if is_brighter else 0.0,
            contrast=contrast if is_contrasted else 1.0,
            saturation=saturation if is_saturated else 1.0,
            hue=hue if is_turned else 0.0,
            channel_order=order if is_swapped else (0, 1, 2),
        )
        return results


def unflipped_view(img: np.ndarray) -> np.ndarray:
    """Return the image in memory order; `np.flip` returns a view, slow to copy pixel by pixel."""
    rows, columns = (stride < 0 for stride in img.strides[:2])
    if not rows and not columns:
        return np.ascontiguousarray(img)
    code = -1 if rows and columns else int(columns)
    return cv2.flip(img[:: -1 if rows else 1, :: -1 if columns else 1], code)
