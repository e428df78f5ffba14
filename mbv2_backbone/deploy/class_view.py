"""The part of an image that a classifier sees, by the rule of the library that trained it."""

from __future__ import annotations

import numpy as np

from .resizes import legacy_resize, pillow_resize

INTERPOLATIONS = ('bilinear', 'bicubic', 'legacy')


def centre_view(
    image: np.ndarray, *, size: int, resize: int, interpolation: str = 'bilinear'
) -> np.ndarray:
    """Return the square in the middle of an image.

    With Pillow's `bilinear` and `bicubic` the shorter side is resized to `resize` and the middle
    cut out, as torchvision, timm and mmpretrain do. With `legacy` the middle `size / resize` of
    each side is cut out and stretched, as TensorFlow's slim does.

    Args:
        image: `(H, W, 3)` uint8, in any order of the channels.
        size: Side of the result in pixels.
        resize: At least `size`.
        interpolation: One of `INTERPOLATIONS`.

    Returns:
        `(size, size, 3)` uint8, with `legacy` float32.
    """
    height, width = image.shape[:2]
    if interpolation == 'legacy':
        top, left = (int((side - side * (size / resize)) / 2) for side in (height, width))
        return legacy_resize(image[top : height - top, left : width - left], (size, size))
    shorter = min(height, width)
    new_hw = [
        resize if side == shorter else int(resize * side / shorter) for side in (height, width)
    ]
    top, left = (round((side - size) / 2) for side in new_hw)
    image = pillow_resize(image, tuple(new_hw), interpolation)
    return np.ascontiguousarray(image[top : top + size, left : left + size])
