"""Image files: decoding them, and what their header and end tell before that."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
EXIF_ORIENTATION = 0x0112
AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # not turned by EXIF data

_END_BYTES = 64
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89PNG': b'IEND'}  # by how the file begins
_KINDS = {
    '1': 'black and white',
    'L': 'grayscale',
    'LA': 'grayscale with transparency',
    'P': 'of palette colours',
    'RGBA': 'transparent',
    'CMYK': 'CMYK',
    'I': 'of more than 8 bits',
    'I;16': 'of 16 bits',
    'I;16B': 'of 16 bits',
    'F': 'of floating point',
}
ROUNDING = 1  # pixels; so far a box may reach beyond its image without a word


@dataclass(frozen=True)
class ImageFacts:
    """What an image file is.

    Attributes:
        stored_wh: Width and height of the stored pixels.
        orientation: EXIF's, from 1 (as stored) to 8; from 5 on width and height change places.
        kind: What is unusual about the pixels, such as `grayscale`; empty for 8-bit RGB.
        error: Why it cannot be read; the rest is empty then.
    """

    stored_wh: tuple[int, int] = (0, 0)
    orientation: int = 1
    kind: str = ''
    error: str = ''

    @property
    def seen_wh(self) -> tuple[int, int]:
        """Width and height of the image as viewers, OpenCV and Pillow's `exif_transpose` show."""
        return self.stored_wh[::-1] if self.orientation >= 5 else self.stored_wh


def read_image_facts(path: str) -> ImageFacts:
    """Read the header of an image; only where the end of the file is missing, all of it."""
    if not os.path.isfile(path):
        return ImageFacts(error='does not exist')
    if os.path.getsize(path) == 0:
        return ImageFacts(error='is empty')
    try:
        with Image.open(path) as image:
            facts = ImageFacts(image.size, _orientation(image), _kind(image))
    except Exception as error:  # on damaged files Pillow raises almost anything
        return ImageFacts(error=f'cannot be read: {error}'.replace(f' {path!r}', ''))
    if not _has_end(path) and not can_be_decoded(path):
        return ImageFacts(error='is truncated or damaged')
    return facts


def can_be_decoded(path: str) -> bool:
    """Tell whether OpenCV decodes an image, as training does: from memory.

    Read from a file, the missing part of a JPEG would be gray.
    """
    return read_image(path, cv2.IMREAD_UNCHANGED) is not None


def read_image(path: str | os.PathLike[str], flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """Read an image file and decode it by `decode_image`; `None` where it is missing or broken."""
    try:
        return decode_image(Path(path).read_bytes(), flags)
    except (OSError, cv2.error):
        return None


def decode_image(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """Decode the bytes of an image file.

    Args:
        data: The whole file.
        flags: OpenCV's. By default the image is turned as its EXIF data says; `AS_STORED` leaves
            that out.

    Returns:
        `(H, W, 3)` uint8 BGR, unless the flags ask for another format; `None` if OpenCV cannot.
    """
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None


def _orientation(image: Image.Image) -> int:
    # The method of Pillow's PNG reader would decode all of the image.
    value = Image.Image.getexif(image).get(EXIF_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _kind(image: Image.Image) -> str:
    # Pillow calls an RGB PNG of 16 bits RGB, too, but knows how it is packed.
    if image.mode == 'RGB' and image.format == 'PNG' and image.tile:
        packing = image.tile[0][3]
        return 'of 16 bits' if '16' in str(packing) else ''
    return '' if image.mode == 'RGB' else _KINDS.get(image.mode, f'of mode {image.mode}')


def _has_end(path: str) -> bool:
    """Tell whether a JPEG or PNG ends as it must; other files are taken for cut off."""
    with open(path, 'rb') as file:
        start = file.read(4)
        file.seek(-min(_END_BYTES, os.path.getsize(path)), os.SEEK_END)
        tail = file.read()
    return any(start.startswith(begin) and end in tail for begin, end in _ENDS.items())


class BrokenSampleError(ValueError):
    """A file, or what belongs to it, is broken; another sample can take its place."""


def check_boxes_fit(results: dict) -> None:
    """Refuse a loaded image of another size than its annotations state, unless its boxes fit.

    Args:
        results: With `img_shape`, height and width of the image; optional `height` and `width` as
            stated, and `instances`.

    Raises:
        BrokenSampleError: A box reaches beyond the image by more than a pixel.
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
