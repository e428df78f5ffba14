"""Resize an image as the libraries do that train on it: OpenCV, TensorFlow 1 and Pillow."""

from __future__ import annotations

import numpy as np

from ..common.messages import UserError


def resize(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize `(H, W, 3)` uint8 bilinearly with OpenCV.

    The test pipelines of mmdet and mmseg do the same, so an exported model gets the same input.

    Raises:
        UserError: If there is no OpenCV and the size changes.
    """
    if image.shape[:2] == tuple(size_hw):
        return image
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f'resizing an image of {image.shape[:2]} pixels to {tuple(size_hw)} needs OpenCV: '
            f'pip install opencv-python-headless; or give images of that size'
        ) from error
    return cv2.resize(image, size_hw[::-1])


def legacy_resize(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize `(H, W, 3)` bilinearly as TensorFlow 1 does by default, to float32.

    Position 0 of the result is position 0 of the image: neither the centres of the pixels nor the
    corners of the images are aligned.
    """
    rows, columns = (
        _legacy_neighbours(old, new) for old, new in zip(image.shape[:2], size_hw, strict=True)
    )
    (top, bottom, y), (left, right, x) = rows, columns
    image, x, y = image.astype(np.float32), x[None, :, None], y[:, None, None]
    upper, lower = (
        image[row][:, left] * (1 - x) + image[row][:, right] * x for row in (top, bottom)
    )
    return upper * (1 - y) + lower * y


def _legacy_neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each new pixel the pixels before and after it, and the share of the latter."""
    position = np.arange(new, dtype=np.float32) * np.float32(old / new)
    before = position.astype(np.int64)
    return before, np.minimum(before + 1, old - 1), position - before.astype(np.float32)


def pillow_resize(
    image: np.ndarray,
    size_hw: tuple[int, int],
    interpolation: str,
    box: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """Resize `(H, W, 3)` uint8, or the xyxy `box` of it, with Pillow, smoothed where it shrinks.

    Raises:
        UserError: If there is no Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError('resizing for a classifier needs Pillow: pip install pillow') from error
    how = getattr(Image.Resampling, interpolation.upper())
    return np.asarray(Image.fromarray(image).resize(size_hw[::-1], how, box))
