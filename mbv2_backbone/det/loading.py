"""Load images for detection: rotated as annotated, and decoded only inside the crop."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmdet.registry import TRANSFORMS
from mmengine.fileio import get
from PIL import Image

from ..annotations.images import EXIF_ORIENTATION, BrokenSampleError, check_boxes_fit, decode_image


@TRANSFORMS.register_module()
class LoadImageAsAnnotated(LoadImageFromFile):
    """mmcv's `LoadImageFromFile`, but an image is rotated only if its annotations are.

    Some tools annotate an image as displayed, rotated by its EXIF data, others the pixels as they
    are stored. The width and height in the annotation tell which of the two.
    `CheckedCocoDataset` and `CheckedVOCDataset` use it instead of mmcv's loader.

    Required key: img_path; optional width, height and instances. Added keys: as for mmcv's.

    Raises:
        BrokenSampleError: The size matches the annotations neither way, and boxes do not fit.
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
    """Check whether a loaded image has the annotated width and height, but swapped."""
    stated = results.get('height'), results.get('width')
    return tuple(results['img_shape']) == stated[::-1] != stated


@TRANSFORMS.register_module()
class LoadImageLazily(BaseTransform):
    """Reads an image file, but leaves JPEG data to be decoded by `RandomExpandCropResize`.

    That transform knows which part is needed at what size, and decodes accordingly. Files other
    than plain JPEG (PNG, rotated by EXIF data, CMYK) are decoded here, as `LoadImageAsAnnotated`
    does.

    Required key: img_path; optional width, height and instances. Added keys: img_bytes (bytes) or
    img (`(H, W, 3)` uint8 BGR), img_shape, ori_shape.

    Args:
        backend_args: For mmengine's file backend; `None` for the local disk.

    Raises:
        BrokenSampleError: OpenCV cannot read the file, or boxes do not fit the image.
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
        results['img'] = decode(data, flags, results['img_path'])
        results['img_shape'] = results['img'].shape[:2]

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a gray or colour JPEG without EXIF rotation, else `None`."""
    if not data.startswith(b'\xff\xd8'):
        return None
    try:
        image = Image.open(io.BytesIO(data))
        is_plain = image.mode in ('L', 'RGB') and image.getexif().get(EXIF_ORIENTATION, 1) == 1
    except Exception:  # whatever is wrong with the header, the decoder decides
        return None
    return image.size if is_plain else None


def decode(data: bytes, flags: int, path: str) -> np.ndarray:
    """Decode the bytes of an image file by OpenCV's flags; `(H, W, 3)` uint8 BGR.

    Raises:
        BrokenSampleError: OpenCV cannot decode them.
    """
    img = decode_image(data, flags)
    if img is None:
        raise BrokenSampleError(
            f'expected an image at {path}; OpenCV cannot decode its {len(data)} bytes. '
            f'Replace the file or remove it from the annotations'
        )
    return img
