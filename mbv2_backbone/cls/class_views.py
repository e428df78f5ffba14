"""Which part of an image a classifier is trained and tested on, and how it is packed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement

from ..deploy.class_view import INTERPOLATIONS, centre_view
from ..deploy.resizes import pillow_resize

_TRIES = 10  # torchvision's


@TRANSFORMS.register_module()
class ImageFromArray(BaseTransform):
    """Take an image that is loaded already. Required key: img. Added: img_shape, ori_shape."""

    def transform(self, results: dict) -> dict:
        """Note the size of the image."""
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class CentreView(BaseTransform):
    """Cut out the middle of an image for testing; see `deploy.class_view.centre_view`.

    Required and changed keys: img, img_shape.

    Args:
        size: Side of the result in pixels.
        resize: Shorter side of the image before it is cut.
        interpolation: `bilinear`, `bicubic` or `legacy`.

    Raises:
        ValueError: If `resize` is below `size`, or the interpolation unknown.
    """

    def __init__(
        self, *, size: int = 224, resize: int = 256, interpolation: str = 'bilinear'
    ) -> None:
        if not 1 <= size <= resize or interpolation not in INTERPOLATIONS:
            raise ValueError(
                f'CentreView needs 1 <= size <= resize and an interpolation of '
                f'{", ".join(INTERPOLATIONS)}; got {size}, {resize} and {interpolation!r}'
            )
        self.rule = dict(size=size, resize=resize, interpolation=interpolation)

    def transform(self, results: dict) -> dict:
        """Cut; see the class."""
        results['img'] = centre_view(results['img'], **self.rule)
        results['img_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Cut out a random part of an image and resize it, as torchvision's transform of that name.

    Required and changed keys: img, img_shape.

    Args:
        size: Side of the result in pixels.
        scale: Least and largest share of the image's area.
        ratio: Least and largest width divided by height.
        interpolation: `bilinear` or `bicubic`.
    """

    def __init__(
        self,
        *,
        size: int = 224,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bilinear',
    ) -> None:
        self.size = size
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self.interpolation = interpolation

    @cache_randomness
    def sample(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return a random xyxy part of an image; the largest in the middle if ten do not fit."""
        for _ in range(_TRIES):
            area = height * width * np.random.uniform(*self.scale)
            ratio = math.exp(np.random.uniform(*map(math.log, self.ratio)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left = np.random.randint(width - w + 1)
                top = np.random.randint(height - h + 1)
                return left, top, left + w, top + h
        low, high = self.ratio
        w = max(1, min(width, round(height * high)))
        h = max(1, min(height, round(width / low)))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h

    def transform(self, results: dict) -> dict:
        """Cut and resize; see the class."""
        img = results['img']
        box = self.sample(*img.shape[:2])
        results['img'] = pillow_resize(img, (self.size, self.size), self.interpolation, box)
        results['img_shape'] = (self.size, self.size)
        return results


@TRANSFORMS.register_module()
class ColourJitter(BaseTransform):
    """Change brightness, contrast and saturation by random factors, in random order.

    Required and changed key: img, uint8 BGR.

    Args:
        strength: The factors are within 1 - strength and 1 + strength.
    """

    def __init__(self, *, strength: float = 0.4) -> None:
        self.strength = strength

    def transform(self, results: dict) -> dict:
        """Change the colours; see the class."""
        changes = (mmcv.adjust_brightness, mmcv.adjust_contrast, mmcv.adjust_color)
        for i in np.random.permutation(len(changes)):
            factor = np.random.uniform(1 - self.strength, 1 + self.strength)
            results['img'] = changes[i](results['img'], factor)
        return results


@TRANSFORMS.register_module()
class PackClassInputs(BaseTransform):
    """Pack an image as a tensor, and its label into a data sample.

    Required key: img `(H, W, 3)`; optional gt_label. The result has `inputs` `(3, H, W)` of the
    image's type and `data_samples`, a `BaseDataElement` with `gt_label` if there is one.

    Args:
        meta_keys: Keys that become the sample's metainfo, where present.
    """

    def __init__(
        self, *, meta_keys: Sequence[str] = ('img_id', 'img_path', 'ori_shape', 'img_shape')
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack; see the class."""
        sample = BaseDataElement(
            metainfo={key: results[key] for key in self.meta_keys if key in results}
        )
        if 'gt_label' in results:
            sample.gt_label = torch.tensor(results['gt_label'])
        planes = np.ascontiguousarray(results['img'].transpose(2, 0, 1))
        return dict(inputs=torch.from_numpy(planes), data_samples=sample)
