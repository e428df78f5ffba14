"""Load images in pipelines: turned as annotated, and decoded only inside the crop."""

from __future__ import annotations

import io

import cv2
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.fileio import get
from mmengine.registry import TRANSFORMS
from PIL import Image

from .images import BrokenSampleError, check_boxes_fit, decode_image, imdecode, read_orientation


@TRANSFORMS.register_module()
class LoadImageAsAnnotated(LoadImageFromFile):
    """mmcv's `LoadImageFromFile`, but every format is read as by the rest of this package.

    Some tools annotate an image as displayed, turned by its EXIF data, others the pixels as they
    are stored. The width and height in the annotation tell which of the two. `CheckedCocoDataset`
    and `CheckedVOCDataset` use it instead of mmcv's loader, and so do all datasets in the runs of
    our tools. With an `imdecode_backend` other than `cv2`, or a `color_type` other than `color` and
    `grayscale`, it is mmcv's.

    Required key: img_path; optional width, height and instances. Added keys: as for mmcv's.

    Raises:
        BrokenSampleError: The file cannot be decoded, or its size matches the annotations neither
            way, and boxes do not fit.
    """

    def transform(self, results: dict) -> dict | None:
        """Load the image."""
        is_ours = self.imdecode_backend == 'cv2' and self.color_type in ('color', 'grayscale')
        loaded = self._load(results) if is_ours else super().transform(results)
        if loaded is not None:
            check_boxes_fit(loaded)
        return loaded

    def _load(self, results: dict) -> dict | None:
        try:
            data = get(results['img_path'], backend_args=self.backend_args)
            img = _decode_as_annotated(data, results)
        except Exception:
            if self.ignore_empty:
                return None
            raise
        if self.color_type == 'grayscale':
            img = cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)
        results['img'] = img.astype(np.float32) if self.to_float32 else img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results


def _decode_as_annotated(data: bytes, results: dict) -> np.ndarray:
    """Decode an image, turned unless its annotated `width` and `height` say otherwise."""
    try:
        return decode_image(data, (results.get('width'), results.get('height')))
    except ValueError as error:
        raise _broken(results['img_path'], error) from error


def _broken(path: str, error: object) -> BrokenSampleError:
    return BrokenSampleError(
        f'expected an image at {path}; its {error}. Replace the file or remove it from the '
        f'annotations'
    )


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
            results['img'] = _decode_as_annotated(data, results)
            results['img_shape'] = results['img'].shape[:2]
        results['ori_shape'] = results['img_shape']
        check_boxes_fit(results)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a gray or colour JPEG that EXIF does not turn, else `None`."""
    if not data.startswith(b'\xff\xd8'):
        return None
    try:
        image = Image.open(io.BytesIO(data))
        is_plain = image.mode in ('L', 'RGB') and read_orientation(image) == 1
    except Exception:  # whatever is wrong with the header, the decoder decides
        return None
    return image.size if is_plain else None


def decode_plain(data: bytes, flags: int, path: str) -> np.ndarray:
    """Decode the data of a plain JPEG by OpenCV's flags; `(H, W, 3)` uint8 BGR.

    Raises:
        BrokenSampleError: OpenCV cannot decode them.
    """
    img = imdecode(data, flags)
    if img is None:
        raise _broken(path, f'{len(data)} bytes are truncated or damaged')
    return img
