"""Pad images to a size that fits the output stride of a segmentation network."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PadToGrid(BaseTransform):
    """Pad an image at the right and bottom until each side is `divisor * k + remainder`.

    Data preprocessors pad to one size or to a multiple; views of an image at several scales, for a
    network that needs 16 k + 1 pixels, need this. Predictions are cropped by `padding_size`, so
    that must be among the packed `meta_keys`. Labels are not padded: load them after it.

    Required keys: img. Modified keys: img, img_shape. Added keys: pad_shape, and padding_size, the
    pixels added at the left, right, top and bottom.

    Args:
        divisor: Such as the output stride, at least 1.
        remainder: Pixels of a side beyond a multiple of `divisor`, less than it; 1 for networks
            that resize with aligned corners.
        pad_val: Value for each channel in the order of the image's channels; 0 to 255.

    Raises:
        ValueError: If `remainder` is not within 0 and `divisor`.

    Example:
        >>> import numpy as np
        >>> padded = PadToGrid(divisor=16, remainder=1)(dict(img=np.zeros((360, 480, 3), np.uint8)))
        >>> padded['img'].shape, padded['padding_size']
        ((369, 481, 3), (0, 1, 0, 9))
    """

    def __init__(
        self, *, divisor: int, remainder: int = 0, pad_val: Sequence[float] = (0, 0, 0)
    ) -> None:
        if not 0 <= remainder < divisor:
            raise ValueError(f'remainder must be within 0 and {divisor - 1}, got {remainder}')
        self.divisor = divisor
        self.remainder = remainder
        self.pad_val = tuple(pad_val)

    def transform(self, results: dict) -> dict:
        """Pad; see the class."""
        height, width = results['img'].shape[:2]
        bottom = (self.remainder - height) % self.divisor
        right = (self.remainder - width) % self.divisor
        results['img'] = cv2.copyMakeBorder(
            results['img'], 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=self.pad_val
        )
        results['img_shape'] = results['pad_shape'] = results['img'].shape[:2]
        results['padding_size'] = (0, right, 0, bottom)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(divisor={self.divisor}, remainder={self.remainder}, '
            f'pad_val={self.pad_val})'
        )
