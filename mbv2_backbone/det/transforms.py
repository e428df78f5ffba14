"""One faster training transform for mmdet's Expand, MinIoURandomCrop and Resize."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import avoid_cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type

from ..annotations.loading import decode_plain
from .crops import (
    Window,
    centres_inside,
    reduction_of,
    resample_window,
    sample_crop,
    sample_expansion,
)

REDUCED_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


@TRANSFORMS.register_module()
@avoid_cache_randomness
class RandomExpandCropResize(BaseTransform):
    """mmdet's Expand, MinIoURandomCrop and Resize (not keeping the ratio) in one resampling.

    The same random numbers give the same window and the same boxes. A window of the original image
    is chosen first; then only its visible part is resampled, without a canvas of up to 16 times
    the image's size. After `LoadImageLazily` JPEGs are decoded at 1/2, 1/4 or 1/8 of their size
    if the window is then still no smaller than the result; this averages pixels that
    mmdet would skip. After any other loader it takes `img` unchanged.

    mmdet's crop samples until one fits. Each round gives "no crop" with a probability of 1 in
    `len(min_ious) + 2`, so that a limit which affects less than one image in 10^12 is small (180
    rounds for five `min_ious`); after it the whole canvas is used.

    Required keys: img_bytes or img, gt_bboxes; optional gt_bboxes_labels, gt_ignore_flags.
    Changed keys: these. Added keys: img, img_shape, scale, scale_factor, keep_ratio,
    homography_matrix (3x3, from the original image to the result).

    Args:
        scale: Width and height of the result.
        mean: Colour around the image; RGB if `to_rgb`, else in the order of the image.
        to_rgb: As for mmdet's `Expand`.
        ratio_range: Size of the canvas relative to the image, at least 1.
        expand_prob: Probability of expanding.
        min_ious: As for mmdet's `MinIoURandomCrop`.
        min_crop_size: As for mmdet's `MinIoURandomCrop`.

    Raises:
        ValueError: An argument is out of range; the sample has masks or a segmentation map;
            there are no boxes or boxes of another kind than xyxy; the image cannot be decoded.
    """

    def __init__(
        self,
        *,
        scale: tuple[int, int] = (320, 320),
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        to_rgb: bool = True,
        ratio_range: tuple[float, float] = (1, 4),
        expand_prob: float = 0.5,
        min_ious: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        min_crop_size: float = 0.3,
    ) -> None:
        if not 1 <= ratio_range[0] <= ratio_range[1]:
            raise ValueError(f'ratio_range must be low and high, from 1 up, not {ratio_range}')
        if not 0 < min_crop_size <= 1:
            raise ValueError(f'min_crop_size must be above 0 and at most 1, not {min_crop_size}')
        if min(scale) < 1:
            raise ValueError(f'scale must be width and height in pixels, not {scale}')
        self.scale = tuple(scale)
        self.mean = tuple(mean)[::-1] if to_rgb else tuple(mean)
        self.ratio_range = tuple(ratio_range)
        self.expand_prob = expand_prob
        self.min_ious = tuple(min_ious)
        self.min_crop_size = min_crop_size
        self.max_rounds = ceil(log(1e-12) / log(1 - 1 / (len(self.min_ious) + 2)))

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Choose the window, transform the boxes and resample the image."""
        self._check(results)
        height, width = results['img'].shape[:2] if 'img' in results else results['img_shape']
        boxes = results['gt_bboxes'].tensor.numpy()
        canvas_wh, corner = sample_expansion((width, height), self.ratio_range, self.expand_prob)
        boxes = boxes + np.array(corner * 2, np.float32)
        crop = sample_crop(boxes, canvas_wh, self.min_ious, self.min_crop_size, self.max_rounds)
        if crop is None:
            crop = (0, 0, *canvas_wh)
        else:
            boxes = self._crop_boxes(results, boxes, crop)
        left, top, right, bottom = (crop[i] - corner[i % 2] for i in range(4))
        factors = self.scale[0] / (right - left), self.scale[1] / (bottom - top)
        boxes = boxes * np.array(factors * 2, np.float32)
        boxes = boxes.clip(0, np.array(self.scale * 2, np.float32))
        results['gt_bboxes'] = HorizontalBoxes(torch.from_numpy(boxes), clone=False)
        results['img'] = self._resample(results, (left, top, right, bottom))
        results['img_shape'] = results['img'].shape[:2]
        results['scale'] = self.scale
        results['scale_factor'] = factors
        results['keep_ratio'] = False
        results['homography_matrix'] = np.array(
            [[factors[0], 0, -left * factors[0]], [0, factors[1], -top * factors[1]], [0, 0, 1]],
            np.float32,
        )
        return results

    def _check(self, results: dict) -> None:
        for key in ('gt_masks', 'gt_seg_map'):
            if results.get(key) is not None:
                raise ValueError(
                    f'{type(self).__name__} transforms boxes only, but {key} was loaded; use '
                    f'Expand, MinIoURandomCrop and Resize of mmdet instead'
                )
        if 'img' not in results and 'img_bytes' not in results:
            raise ValueError(
                f"{type(self).__name__} needs img or img_bytes; put dict(type='LoadImageLazily') "
                f'before it'
            )
        if not isinstance(results.get('gt_bboxes'), HorizontalBoxes):
            raise ValueError(
                f'{type(self).__name__} needs gt_bboxes as xyxy boxes, got '
                f'{type(results.get("gt_bboxes")).__name__}; put '
                f"dict(type='LoadAnnotations', with_bbox=True) before it"
            )

    def _crop_boxes(self, results: dict, boxes: np.ndarray, crop: Window) -> np.ndarray:
        kept = centres_inside(boxes, crop)
        for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
            if results.get(key) is not None:
                results[key] = results[key][kept]
        x1, y1, x2, y2 = crop
        boxes = boxes[kept] - np.array((x1, y1) * 2, np.float32)
        return boxes.clip(0, np.array((x2 - x1, y2 - y1) * 2, np.float32))

    def _resample(self, results: dict, window: Window) -> np.ndarray:
        reduction = 1
        img = results.get('img')
        if img is None:
            reduction = reduction_of(window, self.scale)
            flags = REDUCED_FLAGS[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
            img = decode_plain(results.pop('img_bytes'), flags, results['img_path'])
        fill = np.array(self.mean).astype(img.dtype).tolist()
        return resample_window(img, window, self.scale, fill, reduction)
