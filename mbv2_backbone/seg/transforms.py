"""Faster versions of what mmseg does to an image and its labels before training."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import cv2
import numpy as np
from mmcv.image import rescale_size
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import avoid_cache_randomness
from mmseg.datasets.transforms import PackSegInputs, PhotoMetricDistortion
from mmseg.registry import TRANSFORMS

Crop = tuple[int, int, int, int]  # x1, y1, x2, y2 on the resized image, end excluded

CROP_TRIES = 10  # mmseg's
MAX_CHANNELS = 128  # that OpenCV, of any version, takes apart
MAX_SHIFT = 1 / 32  # pixels of the image by which a resampled crop may be off


def sample_crop(size_wh: tuple[int, int], crop_hw: tuple[int, int]) -> Crop:
    """Sample a crop with the random numbers of mmseg's `RandomCrop`, clipped to the image."""
    (width, height), (crop_h, crop_w) = size_wh, crop_hw
    top = np.random.randint(0, max(height - crop_h, 0) + 1)
    left = np.random.randint(0, max(width - crop_w, 0) + 1)
    return left, top, min(left + crop_w, width), min(top + crop_h, height)


def is_varied(seg_map: np.ndarray, cat_max_ratio: float, ignore_index: int) -> bool:
    """Check that `(H, W)` labels have at least two classes and none has too large a share.

    Args:
        seg_map: uint8 labels.
        cat_max_ratio: The share of pixels, ignored ones excluded, that a class must stay below.
        ignore_index: The label that is ignored.
    """
    total = seg_map.size - np.count_nonzero(seg_map == ignore_index)
    # One class mostly decides it, and counting one is several times faster than counting all.
    guess = int(_count(seg_map[::8, ::8], ignore_index).argmax())
    count = np.count_nonzero(seg_map == guess) if guess != ignore_index else 0
    if count >= cat_max_ratio * total:
        return False
    if total - count < cat_max_ratio * total:  # no other class can be too large
        return True
    counts = _count(seg_map, ignore_index)
    return np.count_nonzero(counts) > 1 and counts.max() / total < cat_max_ratio


def _count(seg_map: np.ndarray, ignore_index: int) -> np.ndarray:
    labels = np.ascontiguousarray(seg_map)
    counts = cv2.calcHist([labels], [0], None, [256], (0, 256)).ravel().astype(np.int64)
    if 0 <= ignore_index < 256:
        counts[ignore_index] = 0
    return counts


def crop_of_resized(img: np.ndarray, size_wh: tuple[int, int], crop: Crop) -> np.ndarray:
    """Compute a crop of `cv2.resize(img, size_wh)`, bilinear, and little more than that.

    Resampling starts where the pixels of the image and of the resized one coincide, within 1/32 of
    a pixel; they always do at the left and upper edge.

    Args:
        img: `(H, W, C)` or `(H, W)`.
        size_wh: Width and height of the resized image.
        crop: Inside the resized image.

    Returns:
        `(y2 - y1, x2 - x1, C)` of the type of `img`.
    """
    height, width = img.shape[:2]
    x1, y1, x2, y2 = crop
    left, skip_x, right = _aligned_part(width, size_wh[0], x1, x2)
    top, skip_y, bottom = _aligned_part(height, size_wh[1], y1, y2)
    resized = cv2.resize(
        img[top:bottom, left:right], None, fx=size_wh[0] / width, fy=size_wh[1] / height
    )
    return resized[skip_y : skip_y + y2 - y1, skip_x : skip_x + x2 - x1]


def _aligned_part(length: int, new_length: int, start: int, stop: int) -> tuple[int, int, int]:
    """Find which pixels of one axis to resize to get `start:stop` of the resized axis.

    Returns:
        First pixel; number of resized pixels before `start`; one after the last pixel.
    """
    step = length / new_length
    # The first pixel to keep must not depend on a neighbour that is cut off.
    margin = ceil(max(0.0, 0.5 / step - 0.5))
    positions = np.arange(max(start - margin, 0) + 1) * step
    begin = int(np.flatnonzero(abs(positions - positions.round()) <= MAX_SHIFT)[-1])
    first = round(begin * step)
    last = min(length, ceil(first + (stop - begin) * step) + 2)
    return first, start - begin, last


def crop_of_labels(seg_map: np.ndarray, size_wh: tuple[int, int], crop: Crop) -> np.ndarray:
    """Compute a crop of `cv2.resize(seg_map, size_wh)`, nearest, and nothing more.

    Args:
        seg_map: `(H, W)` labels.
        size_wh: Width and height of the resized labels.
        crop: Inside the resized labels.

    Returns:
        `(y2 - y1, x2 - x1)` of the type of `seg_map`.
    """
    height, width = seg_map.shape
    x1, y1, x2, y2 = crop
    columns = _nearest(width, size_wh[0], x1, x2)
    rows = _nearest(height, size_wh[1], y1, y2)
    # Copying rows is much faster than copying columns, so the columns are turned into rows.
    part = np.ascontiguousarray(seg_map[rows, columns[0] : columns[-1] + 1])
    return cv2.transpose(cv2.transpose(part)[columns - columns[0]])


def _nearest(length: int, new_length: int, start: int, stop: int) -> np.ndarray:
    step = 1 / (new_length / length)  # as OpenCV rounds it
    return np.minimum((np.arange(start, stop) * step).astype(np.int64), length - 1)


@TRANSFORMS.register_module()
@avoid_cache_randomness
class RandomResizeCropFlip(BaseTransform):
    """mmseg's RandomResize, RandomCrop and RandomFlip; only the crop is computed.

    The same random numbers give the same size, crop and flip, the same labels, and the same image
    except for rounding and at most 1/32 of a pixel. As with mmseg, an image that is smaller than
    the crop keeps its size; the data preprocessor pads it.

    Required keys: img, gt_seg_map and seg_fields. Changed keys: img, img_shape and all of
    seg_fields. Added keys: scale, scale_factor, keep_ratio, flip, flip_direction.

    Args:
        scale: Width and height to which the image is resized, before the ratio.
        ratio_range: `scale` is multiplied by a number drawn from it.
        keep_ratio: Resize to fit within the scale, keeping the ratio of the sides.
        crop_size: Height and width of the crop, or one number for both.
        cat_max_ratio: Sample again, up to ten times, if one class has that share of the crop.
        ignore_index: The label that is ignored for `cat_max_ratio`.
        flip_prob: Probability of flipping left to right.

    Raises:
        ValueError: An argument is out of range; the labels are not uint8 `(H, W)` or not of the
            size of the image.
    """

    def __init__(
        self,
        *,
        scale: tuple[int, int] = (2048, 512),
        ratio_range: tuple[float, float] = (0.5, 2.0),
        keep_ratio: bool = True,
        crop_size: int | tuple[int, int] = 513,
        cat_max_ratio: float = 0.75,
        ignore_index: int = 255,
        flip_prob: float = 0.5,
    ) -> None:
        if not 0 < ratio_range[0] <= ratio_range[1]:
            raise ValueError(f'ratio_range must be low and high, above 0, not {ratio_range}')
        self.scale = tuple(scale)
        self.ratio_range = tuple(ratio_range)
        self.keep_ratio = keep_ratio
        self.crop_hw = (crop_size, crop_size) if isinstance(crop_size, int) else tuple(crop_size)
        if min(*self.scale, *self.crop_hw) < 1:
            raise ValueError(
                f'scale and crop_size must be pixels from 1 up, not {scale} and {crop_size}'
            )
        self.cat_max_ratio = cat_max_ratio
        self.ignore_index = ignore_index
        self.flip_prob = flip_prob

    def transform(self, results: dict) -> dict:
        """Resize, crop and flip the image and its labels."""
        img, seg_map = results['img'], results['gt_seg_map']
        for key in results['seg_fields']:
            self._check(key, results[key], img)
        height, width = img.shape[:2]
        low, high = self.ratio_range
        ratio = np.random.random_sample() * (high - low) + low
        size = scale = int(self.scale[0] * ratio), int(self.scale[1] * ratio)
        if self.keep_ratio:
            size = rescale_size((width, height), scale)
        size = max(size[0], 1), max(size[1], 1)
        crop = self._choose_crop(seg_map, size)
        is_flipped = bool(np.random.random_sample() < self.flip_prob)

        img = crop_of_resized(img, size, crop)
        results['img'] = cv2.flip(img, 1) if is_flipped else np.ascontiguousarray(img)
        for key in results['seg_fields']:
            labels = crop_of_labels(results[key], size, crop)
            results[key] = cv2.flip(labels, 1) if is_flipped else labels
        results['img_shape'] = results['img'].shape[:2]
        results['scale'] = scale
        results['scale_factor'] = (size[0] / width, size[1] / height)
        results['keep_ratio'] = self.keep_ratio
        results['flip'] = is_flipped
        results['flip_direction'] = 'horizontal' if is_flipped else None
        return results

    def _check(self, key: str, seg_map: np.ndarray, img: np.ndarray) -> None:
        if seg_map.dtype != np.uint8 or seg_map.shape != img.shape[:2]:
            raise ValueError(
                f'{type(self).__name__} needs {key} of uint8 and as large as the image, '
                f'{img.shape[:2]}, got {seg_map.dtype} {seg_map.shape}; are they of one image?'
            )

    def _choose_crop(self, seg_map: np.ndarray, size_wh: tuple[int, int]) -> Crop:
        crop = sample_crop(size_wh, self.crop_hw)
        if self.cat_max_ratio < 1:
            for _ in range(CROP_TRIES):
                labels = crop_of_labels(seg_map, size_wh, crop)
                if is_varied(labels, self.cat_max_ratio, self.ignore_index):
                    break
                crop = sample_crop(size_wh, self.crop_hw)
        return crop


@TRANSFORMS.register_module()
class FastPhotoMetricDistortion(PhotoMetricDistortion):
    """mmseg's `PhotoMetricDistortion` by lookup table: same arguments, random numbers and pixels.

    Required and changed key: img, `(H, W, 3)` uint8 BGR.
    """

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        """Multiply by alpha, add beta and clip, for all 256 values at once."""
        return cv2.LUT(img, super().convert(np.arange(256, dtype=np.uint8), alpha, beta))

    def saturation(self, img: np.ndarray) -> np.ndarray:
        """Change the saturation with probability 1/2."""
        if not np.random.randint(2):
            return img
        alpha = np.random.uniform(self.saturation_lower, self.saturation_upper)
        return _change_hsv(img, 1, lambda saturation: self.convert(saturation, alpha))

    def hue(self, img: np.ndarray) -> np.ndarray:
        """Rotate the hue with probability 1/2."""
        if not np.random.randint(2):
            return img
        turn = np.random.randint(-self.hue_delta, self.hue_delta)
        turned = ((np.arange(256) + turn) % 180).astype(np.uint8)
        return _change_hsv(img, 0, lambda hue: cv2.LUT(hue, turned))


def _change_hsv(
    img: np.ndarray, channel: int, change: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV)
    cv2.insertChannel(change(cv2.extractChannel(hsv, channel)), hsv, channel)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


@TRANSFORMS.register_module()
class FastPackSegInputs(PackSegInputs):
    """mmseg's `PackSegInputs`: same arguments and tensors, ten times as fast for uint8 images.

    mmseg permutes the image pixel by pixel; OpenCV takes its channels apart.
    """

    def transform(self, results: dict) -> dict:
        """Pack the image, its labels and what is known of it."""
        img = results.get('img')
        is_fit = img is not None and img.ndim == 3 and img.dtype == np.uint8 and img.size > 0
        if is_fit and img.shape[2] <= MAX_CHANNELS:
            planes = np.empty((img.shape[2], *img.shape[:2]), np.uint8)
            cv2.split(img, list(planes))
            results = {**results, 'img': planes.transpose(1, 2, 0)}
        return super().transform(results)
