"""Training transforms that do mmdet's Expand, MinIoURandomCrop, Resize and colours in less time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import ceil, log
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmcv.transforms.utils import avoid_cache_randomness
from mmdet.datasets.transforms import PhotoMetricDistortion
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type
from mmengine.fileio import get
from PIL import Image

from ..data.broken import BrokenSampleError, check_boxes_fit
from ..data.image_files import EXIF_ORIENTATION
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
class LoadImageAsAnnotated(LoadImageFromFile):
    """mmcv's `LoadImageFromFile`, which turns a photo only if its annotations are for the turned.

    Some tools write boxes for a photo as it is seen, turned by its EXIF data, others for the
    pixels as they are stored. The width and height that stand beside the boxes tell which.
    `CheckedCocoDataset` and `CheckedVOCDataset` put it in the place of mmcv's loader.

    Required key: img_path; optional width, height and instances. Added keys: as for mmcv's.

    Raises:
        BrokenSampleError: Neither way the size is that of the annotations, and boxes do not fit.
    """

    def __init__(self, *, color_type: str = 'color', **kwargs: Any) -> None:
        super().__init__(color_type=color_type, **kwargs)
        self._as_stored = None
        if color_type in ('color', 'grayscale'):  # the others are as stored anyway
            self._as_stored = LoadImageFromFile(
                color_type=f'{color_type}_ignore_orientation', **kwargs
            )

    def transform(self, results: dict) -> dict | None:
        """Load the image."""
        loaded = super().transform(results)
        if loaded is None:
            return None
        if self._as_stored is not None and is_on_its_side(loaded):
            loaded = self._as_stored.transform(loaded)
        check_boxes_fit(loaded)
        return loaded


def is_on_its_side(results: dict) -> bool:
    """Tell whether the sides of a loaded image are those that its annotations state, swapped."""
    stated = results.get('height'), results.get('width')
    return tuple(results['img_shape']) == stated[::-1] != stated


@TRANSFORMS.register_module()
class LoadImageLazily(BaseTransform):
    """Reads an image file, but leaves JPEG data to be decoded by `RandomExpandCropResize`.

    That transform knows which part is seen and how small, and decodes accordingly. Files that are
    no plain JPEG (PNG, rotated by EXIF data, CMYK) are decoded here, as `LoadImageAsAnnotated`
    does.

    Required key: img_path; optional width, height and instances. Added keys: img_bytes (bytes) or
    img (`(H, W, 3)` uint8 BGR), img_shape, ori_shape.

    Args:
        backend_args: Of mmengine's file backend; `None` for the local disk.

    Raises:
        BrokenSampleError: The file is no image that OpenCV reads, or boxes do not fit it.
    """

    def __init__(self, *, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add the image, or its JPEG data, and its shape."""
        data = get(results['img_path'], backend_args=self.backend_args)
        size = plain_jpeg_size(data)
        if size is not None:
            results['img_bytes'] = data
            results['img_shape'] = size[::-1]
        else:
            self._decode_into(results, data, cv2.IMREAD_COLOR)
            if is_on_its_side(results):
                flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
                self._decode_into(results, data, flags)
        results['ori_shape'] = results['img_shape']
        check_boxes_fit(results)
        return results

    def _decode_into(self, results: dict, data: bytes, flags: int) -> None:
        results['img'] = _decode(data, flags, results['img_path'])
        results['img_shape'] = results['img'].shape[:2]

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a gray or colour JPEG that is not to be turned, else `None`."""
    if not data.startswith(b'\xff\xd8'):
        return None
    try:
        image = Image.open(io.BytesIO(data))
        is_plain = image.mode in ('L', 'RGB') and image.getexif().get(EXIF_ORIENTATION, 1) == 1
    except Exception:  # whatever is wrong with the header, the decoder has the last word
        return None
    return image.size if is_plain else None


def _decode(data: bytes, flags: int, path: str) -> np.ndarray:
    img = mmcv.imfrombytes(data, flag=flags, backend='cv2') if data else None
    if img is None:
        raise BrokenSampleError(
            f'expected an image at {path}; OpenCV cannot decode its {len(data)} bytes. '
            f'Replace the file or take it out of the annotations'
        )
    return img


@TRANSFORMS.register_module()
@avoid_cache_randomness
class RandomExpandCropResize(BaseTransform):
    """mmdet's Expand, MinIoURandomCrop and Resize (not keeping the ratio) in one resampling.

    The same random numbers give the same window and the same boxes. A window of the original image
    is chosen first; then only what is seen of it is resampled, without a canvas of up to 16 times
    the image's size. After `LoadImageLazily` JPEGs are decoded at 1/2, 1/4 or 1/8 of their size
    where the window, so reduced, is still no smaller than the result; this averages pixels that
    mmdet would skip. After any other loader it takes `img` as it is.

    mmdet's crop draws until one fits. Each round draws "no crop" with a chance of 1 in
    `len(min_ious) + 2`, so that a bound which cuts off less than one image in 10^12 is small (180
    rounds for five `min_ious`); after it the whole canvas is taken.

    Required keys: img_bytes or img, gt_bboxes; optional gt_bboxes_labels, gt_ignore_flags.
    Changed keys: these. Added keys: img, img_shape, scale, scale_factor, keep_ratio,
    homography_matrix (3x3, from the original image to the result).

    Args:
        scale: Width and height of the result.
        mean: What surrounds the image; RGB if `to_rgb`, else in the order of the image.
        to_rgb: As for mmdet's `Expand`.
        ratio_range: Size of the canvas over that of the image, at least 1.
        expand_prob: Chance to expand.
        min_ious: As for mmdet's `MinIoURandomCrop`.
        min_crop_size: As for mmdet's `MinIoURandomCrop`.

    Raises:
        ValueError: An argument is out of range; masks or a segmentation map are to be transformed;
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
            img = _decode(results.pop('img_bytes'), flags, results['img_path'])
        fill = np.array(self.mean).astype(img.dtype).tolist()
        return resample_window(img, window, self.scale, fill, reduction)


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
        brightness: Is added.
        contrast: Is multiplied, at least 0.
        saturation: Is multiplied, up to full saturation.
        hue: Degrees by which the hue turns.
        channel_order: Which channel comes first, second, third.

    Returns:
        A new array, `(H, W, 3)` uint8, clipped to 0..255.
    """
    # Contrast commutes with the change of hue and saturation, so it is done where it clips least.
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

    It differs by rounding (on average below 1 of 255) and by the end of the range: values below 0
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
    """Return the image in memory order; `np.flip` leaves a view, slow to copy pixel by pixel."""
    rows, columns = (stride < 0 for stride in img.strides[:2])
    if not rows and not columns:
        return np.ascontiguousarray(img)
    code = -1 if rows and columns else int(columns)
    return cv2.flip(img[:: -1 if rows else 1, :: -1 if columns else 1], code)
