"""Decode image files, and inspect their header and end without decoding them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

IMAGE_SUFFIXES = (
    '.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.avif', '.gif', '.tif', '.tiff'
)  # fmt: skip
EXIF_ORIENTATION = 0x0112

# OpenCV decodes these fastest; Pillow all others, in which OpenCV's versions differ, or which it
# reads otherwise: transparent TIFF and GIF, and TIFF that always comes turned.
_BY_OPENCV = ('JPEG', 'MPO', 'PNG', 'BMP', 'WEBP')
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # OpenCV's codes, after a transposition from 5 on
_UNDO = {6: 8, 8: 6}  # the other orientations undo themselves
_EXIF_BYTES = 1 << 14  # of the end of a PNG; 64 KiB would make a check of 10,000 a tenth slower
_END_BYTES = 64
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89PNG': b'IEND'}  # end marker by first bytes
_KINDS = {
    '1': 'black and white',
    'L': 'grayscale',
    'LA': 'grayscale with transparency',
    'P': 'palette-coloured',
    'RGBA': 'transparent',
    'CMYK': 'CMYK',
    'I': '32-bit',
    'I;16': '16-bit',
    'I;16B': '16-bit',
    'F': 'floating-point',
    'LAB': 'in Lab colours',
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
        """Width and height of the image as shown by viewers and decoded by `decode_image`."""
        return self.stored_wh[::-1] if self.orientation >= 5 else self.stored_wh


def read_image_facts(path: str) -> ImageFacts:
    """Read the header of an image; all of the image only if the end of the file is missing."""
    if not os.path.isfile(path):
        return ImageFacts(error='does not exist')
    if os.path.getsize(path) == 0:
        return ImageFacts(error='is empty')
    try:
        with Image.open(path) as image:
            _refuse_numbers(image)
            facts = ImageFacts(_stored_wh(image), read_orientation(image), _kind(image))
    except Exception as error:  # Pillow raises almost anything on damaged files
        return ImageFacts(error=f'cannot be read: {error}'.replace(f' {path!r}', ''))
    if not _has_end(path) and not can_be_decoded(path):
        return ImageFacts(error='is truncated or damaged')
    return facts


def can_be_decoded(path: str) -> bool:
    """Check whether an image can be decoded from memory, as training does.

    When OpenCV reads from a file, it fills the missing part of a JPEG with gray.
    """
    return read_image(path) is not None


def read_image(
    path: str | os.PathLike[str], annotated_wh: tuple[int, int] | None = None
) -> np.ndarray | None:
    """Read an image file and decode it with `decode_image`; `None` if it is missing or broken."""
    try:
        return decode_image(Path(path).read_bytes(), annotated_wh)
    except (OSError, ValueError):
        return None


def read_reduced(
    path: str | os.PathLike[str], enough_wh: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]] | None:
    """Read an image; a JPEG at 1/2, 1/4 or 1/8 of its size if that is still large enough.

    Blocks of pixels are averaged while they are decoded. Resizing the whole image skips pixels
    instead, so what is predicted on the two differs a little.

    Args:
        path: The file.
        enough_wh: Width and height that the result must not be smaller than.

    Returns:
        `(H, W, 3)` uint8 BGR, and width and height of the whole image; `None` if it is missing or
        broken.
    """
    with suppress(Exception):  # Pillow raises almost anything, also on files that OpenCV reads
        data = Path(path).read_bytes()
        with Image.open(BytesIO(data)) as image:
            is_jpeg = image.format in ('JPEG', 'MPO')
            facts = ImageFacts(_stored_wh(image), read_orientation(image))
        room = min(have // need for have, need in zip(facts.seen_wh, enough_wh, strict=True))
        flags = next((flags for factor, flags in _REDUCED.items() if factor <= room), None)
        if is_jpeg and flags is not None:
            pixels = imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
            if pixels is not None:
                return _turn(pixels, facts.orientation), facts.seen_wh
    pixels = read_image(path)
    return None if pixels is None else (pixels, pixels.shape[1::-1])


def decode_image(data: bytes, annotated_wh: tuple[int, int] | None = None) -> np.ndarray:
    """Decode the bytes of an image file; all parts of this package see these pixels.

    The image is turned by its EXIF data, in every format. As in browsers and OpenCV, an orientation
    in XMP data does not count. Transparency is dropped, 16-bit values lose their lower 8 bits, and
    of several images or pages the first is read.

    Args:
        data: The whole file.
        annotated_wh: The width and height that annotations are for. If only the pixels as they
            are stored have that size, they are not turned.

    Returns:
        `(H, W, 3)` uint8 BGR.

    Raises:
        ValueError: The data cannot be decoded.
    """
    if _is_jpeg_without_exif(data):  # most photos of datasets; opening them takes Pillow longer
        pixels = imdecode(data, _AS_STORED)
        if pixels is not None:
            return pixels
    try:
        with Image.open(BytesIO(data)) as image:
            facts = ImageFacts(_stored_wh(image), read_orientation(image))
            if image.format in _BY_OPENCV:
                pixels = imdecode(data, _AS_STORED)
            else:
                pixels = _decode_with_pillow(image, facts.orientation)
    except Exception as error:  # Pillow raises almost anything on damaged files
        raise ValueError(f'{len(data)} bytes cannot be decoded: {error}') from error
    if pixels is None:
        raise ValueError(f'{len(data)} bytes cannot be decoded: they are truncated or damaged')
    if annotated_wh == facts.stored_wh != facts.seen_wh:
        return pixels
    return _turn(pixels, facts.orientation)


def imdecode(data: bytes, flags: int) -> np.ndarray | None:
    """Decode the bytes of an image file with OpenCV, by its flags; `None` if it cannot."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None


def _is_jpeg_without_exif(data: bytes) -> bool:
    """Return whether the segments before the pixels of a JPEG are sound and none is of EXIF."""
    place = 2 if data.startswith(b'\xff\xd8') else len(data)
    while data[place : place + 1] == b'\xff':
        marker, length = data[place + 1 : place + 2], data[place + 2 : place + 4]
        if marker in (b'\xff', b'\xda', b'\xe1', b''):  # padding, pixels, EXIF, the end
            return marker == b'\xda'
        place += 2 + int.from_bytes(length, 'big')
    return False


def _decode_with_pillow(image: Image.Image, orientation: int) -> np.ndarray:
    """Return the pixels as stored, `(H, W, 3)` uint8 BGR."""
    _refuse_numbers(image)
    if image.mode.startswith('I;16'):
        pixels = cv2.cvtColor((np.asarray(image) >> 8).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    else:
        pixels = cv2.cvtColor(np.asarray(image.convert('RGB')), cv2.COLOR_RGB2BGR)
    # Pillow turns a TIFF as it loads it, and no other format.
    is_turned = image.format == 'TIFF'
    return _turn(pixels, _UNDO.get(orientation, orientation)) if is_turned else pixels


def _refuse_numbers(image: Image.Image) -> None:
    if image.format not in _BY_OPENCV and image.mode in ('F', 'I', 'LAB'):
        kind = _KINDS[image.mode]
        raise ValueError(f'it is {kind}, has no 8-bit colours; save it as 8-bit or 16-bit RGB')


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels to be shown upright; the orientations are those of EXIF 2.3, table 6."""
    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    return cv2.flip(pixels, _FLIPS[orientation]) if orientation in _FLIPS else pixels


def _stored_wh(image: Image.Image) -> tuple[int, int]:
    if image.format == 'TIFF':  # Pillow gives the size after turning, from version 11.2 on
        return image.tag_v2[256], image.tag_v2[257]
    return image.size


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an open image, 1 (as stored) to 8; 1 if it has none."""
    value = 1
    with suppress(Exception):  # EXIF data may be broken in any way
        if image.format == 'TIFF':
            value = image.tag_v2.get(EXIF_ORIENTATION, 1)
        else:
            data = _png_exif(image) if image.format == 'PNG' else image.info.get('exif')
            if data:
                exif = Image.Exif()
                exif.load(data)
                value = exif.get(EXIF_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _png_exif(image: Image.Image) -> bytes:
    """Return the EXIF data of a PNG, which may follow the pixels; Pillow would decode them."""
    if 'exif' in image.info:
        return image.info['exif']
    image.fp.seek(0, os.SEEK_END)
    image.fp.seek(max(0, image.fp.tell() - _EXIF_BYTES))
    return image.fp.read().partition(b'eXIf')[2]


def _kind(image: Image.Image) -> str:
    # Pillow's mode is RGB for a 16-bit RGB PNG or TIFF too, but its raw mode tells them apart.
    if image.mode == 'RGB':
        return '16-bit' if image.tile and '16' in str(image.tile[0][3]) else ''
    return _KINDS.get(image.mode, f'in mode {image.mode}')


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
