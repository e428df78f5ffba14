"""The boxes around COCO's outlines, which are checked before they are believed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import fsum, isfinite
from typing import Any

import numpy as np

from ..common.messages import UserError
from .boxes import Box, cut_box
from .overlaps import pairwise_iou

_LEAST_IOU = 0.5  # of a box and the one around its outline
_SLACK = 2  # pixels that they may always differ by


def run_lengths(stored: dict, image_wh: tuple[int, int]) -> np.ndarray:
    """Read COCO's run lengths, plain or compressed.

    Args:
        stored: `size`, height and width, and `counts`, a list or a string.
        image_wh: Width and height of the image.

    Returns:
        Lengths of the runs, down the columns: outside, inside, outside, …

    Raises:
        UserError: If they are not those of a mask of the image's size.
    """
    size, counts = stored.get('size'), stored.get('counts')
    if size != [image_wh[1], image_wh[0]]:
        raise UserError(
            f'has run lengths of height and width {size}, but its image has {[*image_wh[::-1]]}'
        )
    if isinstance(counts, str):
        counts = _decompressed(counts)
    is_list = isinstance(counts, list) and all(type(count) is int for count in counts)
    if not is_list or min(counts, default=0) < 0:
        raise UserError('has run lengths that cannot be read')
    if sum(counts) != image_wh[0] * image_wh[1]:
        raise UserError(
            f'has run lengths of {sum(counts)} pixels, but its image has '
            f'{image_wh[0] * image_wh[1]}'
        )
    return np.array(counts, np.int64)


def _decompressed(text: str) -> list[int] | None:
    """Decode as pycocotools' `rleFrString`: 5 bits a character, differences from the third on."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return None if shift else counts


def runs_to_mask(counts: np.ndarray, image_wh: tuple[int, int]) -> np.ndarray:
    """Return the mask of run lengths, bool `(H, W)`."""
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(image_wh).T


def polygon_parts(stored: Any) -> list[Sequence[float]]:
    """Return the parts of COCO's polygons that have three points or more, each flat.

    A part may stand alone, and its points may be pairs.

    Raises:
        UserError: If a part is not pairs of numbers.
    """
    if not isinstance(stored, (list, tuple)):
        return []
    is_alone = set(map(type, stored)) <= {int, float} or all(map(_is_point, stored))
    parts = [_flat(part) for part in ([stored] if is_alone else stored)]
    for part in parts:
        if isinstance(part, (list, tuple)) and len(part) % 2:
            raise UserError(f'has an outline of {len(part)} numbers, which are not pairs x, y')
    return [part for part in parts if _is_polygon(part)]


def _is_point(value: Any) -> bool:
    is_pair = isinstance(value, (list, tuple)) and len(value) == 2
    return is_pair and not isinstance(value[0], (list, tuple))


def _flat(part: Any) -> Any:
    are_points = isinstance(part, (list, tuple)) and all(map(_is_point, part))
    return list(chain.from_iterable(part)) if are_points else part


def _is_polygon(part: Any) -> bool:
    try:  # the sum is the fastest way to ask for all of them
        return isinstance(part, (list, tuple)) and len(part) >= 6 and isfinite(fsum(part))
    except (OverflowError, TypeError, ValueError):
        return False


def outline_extent(stored: Any, image_wh: tuple[int, int]) -> Box | None:
    """Return the box around polygons or run lengths, xyxy in pixels; `None` without an outline.

    Raises:
        UserError: If they are not an outline in an image of this size.
    """
    if isinstance(stored, dict):
        ends = run_lengths(stored, image_wh).cumsum()
        starts, ends = ends[:-1:2], ends[1::2]
        starts, last = starts[ends > starts], ends[ends > starts] - 1
        if not len(last):
            return None
        height = image_wh[1]
        is_long = (starts // height != last // height).any()  # it goes on at the next column's top
        y1, y2 = (0, height - 1) if is_long else ((starts % height).min(), (last % height).max())
        return tuple(map(float, (starts[0] // height, y1, last[-1] // height + 1, y2 + 1)))
    parts = polygon_parts(stored)
    if not parts:
        return None
    values = parts[0] if len(parts) == 1 else list(chain.from_iterable(parts))
    x, y = values[::2], values[1::2]
    return min(x), min(y), max(x), max(y)


def outline_problem(stored: Any, xyxy: Box, image_wh: tuple[int, int]) -> str:
    """Tell why an outline cannot be that of the object in a box; empty if it can be.

    Example:
        >>> outline_problem([[1, 1, 3, 1, 3, 9]], (20, 20, 40, 40), (80, 60))
        'has an outline from (1, 1) to (3, 9), but its box is from (20, 20) to (40, 40)'
    """
    try:
        extent = outline_extent(stored, image_wh)
    except UserError as error:
        return str(error)
    if extent is None or _agree(extent, xyxy):
        return ''
    if _agree(cut_box(extent, image_wh), cut_box(xyxy, image_wh)):
        return ''
    return f'has an outline from {_corners(extent)}, but its box is from {_corners(xyxy)}'


def _agree(first: Box, second: Box) -> bool:
    (a, b, c, d), (x1, y1, x2, y2) = first, second
    if max(abs(a - x1), abs(b - y1), abs(c - x2), abs(d - y2)) <= _SLACK:
        return True
    return pairwise_iou(np.array([first]), np.array([second])).item() >= _LEAST_IOU


def _corners(xyxy: Box) -> str:
    x1, y1, x2, y2 = xyxy
    return f'({x1:g}, {y1:g}) to ({x2:g}, {y2:g})'


def box_of_outline(outline: Any, image_wh: tuple[int, int]) -> Box | None:
    """Return the box around an outline, unless most of it is outside the image.

    Raises:
        UserError: If it is, or if it is not an outline in an image of this size.
    """
    extent = outline_extent(outline, image_wh)
    if extent is not None and not _agree(extent, cut_box(extent, image_wh)):
        raise UserError(f'has an outline from {_corners(extent)} in an image of {[*image_wh]}')
    return extent
