"""Resize images by TensorFlow 1's bilinear rule."""

from __future__ import annotations

from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS

from ..deploy.resizes import legacy_resize


@TRANSFORMS.register_module()
class LegacyResize(Resize):
    """mmdet's `Resize`, by the rule of TensorFlow 1's models: no half-pixel centres, no rounding.

    The image becomes float32.

    Args:
        scale: `(width, height)` of the result, in pixels. The ratio is not kept.
    """

    def __init__(self, *, scale: tuple[int, int]) -> None:
        super().__init__(scale=scale, keep_ratio=False)

    def _resize_img(self, results: dict) -> None:
        width, height = results['scale']
        old_height, old_width = results['img'].shape[:2]
        results['img'] = legacy_resize(results['img'], (height, width))
        results['img_shape'] = (height, width)
        results['scale_factor'] = (width / old_width, height / old_height)
        results['keep_ratio'] = False
