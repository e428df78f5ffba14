"""Decode image files, and inspect their header and end without decoding them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
EXIF_ORIENTATION = 0x0112
AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # not rotated by EXIF data

_END_BYTES = 64
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89PNG': b'IEND'}  # end marker by first bytes
_KINDS = {
    '1': 'black and white',
    'L': 'grayscale',
    'LA': 'grayscale with transparency',
    'P': 'palette-coloured',
    'RGBA': 'transparent',
    'CMYK': 'CMYK',
    'I': 'more than 8 bits deep',
    'I;16': '16-bit',
    'I;16B': '16-bit',
    'F': 'floating-point',
}
ROUNDING = 1  # pixels by which a box may extend beyond its image without a warning


@dataclass(frozen=True)
class ImageFacts:
    """Properties of an image file.

    Attributes:
        stored_wh: Width and height of the stored pixels.
        orientation: EXIF orientation, 1 (as stored) to 8; from 5 on, width and height are swapped.
        kind: What is unusual about the pixels, such as `grayscale`; empty for 8-bit RGB.
        error: Why it cannot be read; the other attributes are empty then.
    """

    stored_wh: tuple[int, int] = (0, 0)
    orientation: int = 1
    kind: str = ''
    error: str = ''

    @property
    def seen_wh(self) -> tuple[int, int]:
        """Width and height of the image as shown by viewers, OpenCV and `exif_transpose`."""
        return self.stored_wh[::-1] if self.orientation >= 5 else self.stored_wh


def read_image_facts(path: str) -> ImageFacts:
    """Read the header of an image; all of the image only if the end of the file is missing."""
    if not os.path.isfile(path):
        return ImageFacts(error='does not exist')
    if os.path.getsize(path) == 0:
        return ImageFacts(error='is empty')
    try:
        with Image.open(path) as image:
            facts = ImageFacts(image.size, _orientation(image), _kind(image))
    except Exception as error:  # Pillow raises almost anything on damaged files
        return ImageFacts(error=f'cannot be read: {error}'.replace(f' {path!r}', ''))
    if not _has_end(path) and not can_be_decoded(path):
        return ImageFacts(error='is truncated or damaged')
    return facts


def can_be_decoded(path: str) -> bool:
    """Check whether OpenCV can decode an image from memory, as training does.

    When OpenCV reads from a file, it fills the missing part of a JPEG with gray.
    """
    return read_image(path, cv2.IMREAD_UNCHANGED) is not None


def read_image(path: str | os.PathLike[str], flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """Read an image file and decode it with `decode_image`; `None` if it is missing or broken."""
    try:
        return decode_image(Path(path).read_bytes(), flags)
    except (OSError, cv2.error):
        return None


def decode_image(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """Decode the bytes of an image file.

    Args:
        data: The whole file.
        flags: OpenCV's flags. By default the image is rotated by its EXIF data; with `AS_STORED`
            it is not.

    Returns:
        `(H, W, 3)` uint8 BGR, unless the flags ask for another format; `None` if OpenCV cannot.
    """
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None


def _orientation(image: Image.Image) -> int:
    # The getexif of Pillow's PNG reader would decode the whole image.
    value = Image.Image.getexif(image).get(EXIF_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _kind(image: Image.Image) -> str:
    # Pillow's mode is RGB for a 16-bit RGB PNG too, but its raw mode tells them apart.
    if image.mode == 'RGB' and image.format == 'PNG' and image.tile:
        packing = image.tile[0][3]
        return '16-bit' if '16' in str(packing) else ''
    return '' if image.mode == 'RGB' else _KINDS.get(image.mode, f'in mode {image.mode}')


def _has_end(path: str) -> bool:
    """Check that a JPEG or PNG ends correctly; other formats count as truncated."""
    with open(path, 'rb') as file:
        start = file.read(4)
        file.seek(-min(_END_BYTES, os.path.getsize(path)), os.SEEK_END)
        tail = file.read()
    return any(start.startswith(begin) and end in tail for begin, end in _ENDS.items())


class BrokenSampleError(ValueError):
    """The image or annotation of a sample is broken; another sample can replace it."""


def check_boxes_fit(results: dict) -> None:
    """Reject a loaded image whose size differs from its annotation's, unless its boxes fit.

    Args:
        results: Has `img_shape`, height and width of the image; optionally the annotated `height`
            and `width`, and `instances`.

    Raises:
        BrokenSampleError: A box extends beyond the image by more than a pixel.
    """
    height, width = results['img_shape']
    if results.get('width', width) == width and results.get('height', height) == height:
        return
    for instance in results.get('instances', []):
        x1, y1, x2, y2 = instance['bbox']
        if min(x1, y1) < -ROUNDING or x2 > width + ROUNDING or y2 > height + ROUNDING:
            raise BrokenSampleError(
                f'is {width}x{height} pixels, its annotations are for '
                f'{results["width"]}x{results["height"]}, and the box {(x1, y1, x2, y2)} is not '
                f'inside'
            )
