"""Read segmentation masks: convert palette indices, grey values or colours to labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import cv2
import numpy as np
from PIL import Image

from ..common.messages import UserError
from .images import imdecode

BACKGROUND_COLOUR = (0, 0, 0)  # colour of label 0 in masks, RGB

IGNORED = 255
VOID_COLOUR = (224, 224, 192)  # PASCAL VOC's cream, which marks object borders
COLOUR_MODES = ('RGB', 'RGBA')
INDEX_MODES = ('1', 'L', 'P', 'I', 'I;16', 'I;16B')

Colour = tuple[int, ...]
Value = int | Colour


class Problem(NamedTuple):
    """Why a mask cannot be trained on.

    Attributes:
        what: What is wrong; written after the file name.
        remedy: What to do.
    """

    what: str
    remedy: str

    def __str__(self) -> str:
        return f'{self.what}; {self.remedy}'


TRANSLUCENT = Problem('has translucent pixels', 'save masks without an alpha channel')
NO_PALETTE = Problem(
    'stores the classes as colours',
    "give the colours in class order: dict(type='LoadLabelMap', palette=[(r, g, b), ...])",
)


@dataclass(frozen=True)
class MaskCoding:
    """How the masks of a dataset encode their labels.

    Attributes:
        reduce_zero_label: As in mmseg: index 0 is ignored, the others shift down by 1. Colours are
            not affected: the first one in the palette is label 0.
        label_map: As in mmseg: from the classes in the files to those in use; applied last.
        palette: Colour of each class in the files, RGB.
        ignore: Indices and colours in the files that are ignored; so are 255 and VOC's cream.
        ignore_unknown: Whether colours missing from the palette are ignored too.
    """

    reduce_zero_label: bool = False
    label_map: Mapping[int, int] | None = None
    palette: Sequence[Colour] | None = None
    ignore: Sequence[Value] = ()
    ignore_unknown: bool = False


def read_mask(file: str | IO[bytes], name: str) -> np.ndarray:
    """Read a mask as stored.

    Args:
        file: Path, or a file open for reading.
        name: Its name in error messages.

    Returns:
        Indices `(H, W)` of any integer type or bool, or colours `(H, W, 3)` uint8 RGB.

    Raises:
        UserError: If the file is a JPEG, is translucent, or holds neither indices nor colours.
    """
    with Image.open(file) as image:
        problem = format_problem(image.format, image.mode)
        if problem is None and image.mode == 'RGBA' and image.getextrema()[3][0] < 255:
            problem = TRANSLUCENT
        if problem:
            raise UserError(f'{name} {problem}')
        pixels = np.asarray(image)
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def read_grey_png(data: bytes) -> np.ndarray | None:
    """Decode a PNG file of 8-bit grey values with OpenCV, in half the time that PIL takes.

    Args:
        data: Content of the file.

    Returns:
        `(H, W)` uint8, or `None` for any other file or a broken one.
    """
    is_grey = data[:8] == b'\x89PNG\r\n\x1a\n' and data[24:26] == b'\x08\x00'
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION  # as `read_mask` reads it
    return imdecode(data, flags) if is_grey else None


def format_problem(file_format: str, mode: str) -> Problem | None:
    """Explain why a file format or pixel mode (PIL's names) cannot store masks, else `None`."""
    if file_format == 'JPEG':
        return Problem(
            'is a JPEG, whose lossy compression corrupts labels', 'save the original masks as PNG'
        )
    if mode not in COLOUR_MODES + INDEX_MODES:
        return Problem(f'has pixels of mode {mode}', 'save masks as palette, grayscale or RGB PNG')
    return None


def decode_mask(pixels: np.ndarray, coding: MaskCoding, name: str) -> np.ndarray:
    """Convert the pixels of a mask file to labels.

    Args:
        pixels: From `read_mask`.
        coding: The dataset's.
        name: The name of the file in error messages.

    Returns:
        `(H, W)` uint8; 255 is ignored.

    Raises:
        UserError: If an index does not fit uint8, or a colour is not in the palette.
    """
    if pixels.ndim == 2:
        if pixels.dtype.itemsize > 1 and not 0 <= pixels.min() <= pixels.max() <= 255:
            raise UserError(
                f'{name} has values from {pixels.min()} to {pixels.max()}; expected 0 to 255'
            )
        return cv2.LUT(pixels.astype(np.uint8, copy=False), index_labels(coding))
    if not coding.palette:
        raise UserError(f'{name} {NO_PALETTE}')
    labels = map_colours(pixels, colour_labels(coding))
    is_unknown = labels < 0
    if is_unknown.any() and not coding.ignore_unknown:
        colour = tuple(pixels[is_unknown][0].tolist())
        count = int((pixels == colour).all(axis=-1).sum())
        raise UserError(f'{name} {unknown_colour(colour, count)}')
    return np.where(is_unknown, IGNORED, labels).astype(np.uint8)


def index_labels(coding: MaskCoding) -> np.ndarray:
    """Return the label of each index that a file may contain, as mmseg's `LoadAnnotations` does.

    Returns:
        `(256,)` uint8.

    Example:
        >>> coding = MaskCoding(reduce_zero_label=True, ignore=[3])
        >>> index_labels(coding)[[0, 1, 2, 3, 255]].tolist()
        [255, 0, 1, 255, 255]
    """
    labels = np.arange(256, dtype=np.uint8)
    if coding.reduce_zero_label:
        labels[1:255] = np.arange(254)
        labels[0] = IGNORED
    labels = _mapped(labels, coding.label_map)
    labels[[value for value in coding.ignore if isinstance(value, int)]] = IGNORED
    return labels


def colour_labels(coding: MaskCoding) -> dict[Colour, int]:
    """Return the label of each colour that a file may contain, RGB."""
    labels = _mapped(np.arange(len(coding.palette)), coding.label_map).tolist()
    colours = [tuple(int(v) for v in colour) for colour in coding.palette]
    ignored = [tuple(value) for value in coding.ignore if not isinstance(value, int)]
    return (
        {VOID_COLOUR: IGNORED}
        | dict(zip(colours, labels, strict=True))
        | dict.fromkeys(ignored, IGNORED)
    )


def _mapped(labels: np.ndarray, label_map: Mapping[int, int] | None) -> np.ndarray:
    mapped = labels.copy()
    for old, new in (label_map or {}).items():
        mapped[labels == old] = new
    return mapped


def map_colours(colours: np.ndarray, labels: Mapping[Colour, int]) -> np.ndarray:
    """Replace colours with labels.

    Args:
        colours: `(H, W, 3)` uint8 RGB.
        labels: The label of each colour; at least one.

    Returns:
        `(H, W)` int16; -1 for colours without a label.
    """
    codes = _codes(colours)
    known = _codes(np.array(list(labels), np.uint8))
    order = np.argsort(known)
    known, values = known[order], np.array(list(labels.values()), np.int16)[order]
    place = np.searchsorted(known, codes).clip(max=len(known) - 1)
    return np.where(known[place] == codes, values[place], np.int16(-1))


def _codes(colours: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def unknown_colour(colour: Colour, count: int) -> Problem:
    """Report that a colour of a mask is not in the palette."""
    return Problem(
        f'has the colour {colour} on {num_pixels(count)}, which is not in the palette',
        f'fix the masks or the palette, or ignore the colour: '
        f"dict(type='LoadLabelMap', ignore=[{colour}])",
    )


def num_pixels(count: int) -> str:
    """Format a number of pixels."""
    return f'{count} pixel{"" if count == 1 else "s"}'


def write_palette_png(
    path: Path, labels: np.ndarray, palette_rgb: Sequence[tuple[int, int, int]]
) -> None:
    """Write a semantic map as an 8-bit palette PNG.

    Args:
        path: File to write.
        labels: ``(H, W)`` uint8.
        palette_rgb: Colours of the labels, from 0; 255 gets the cream of VOC's void.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette_rgb)] = palette_rgb
    colours[IGNORED] = VOID_COLOUR
    image = Image.fromarray(labels)
    image.putpalette(colours.tobytes())
    image.save(path)
