"""Images before and after an exported network, in numpy, OpenCV and Pillow."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from ..common.messages import UserError
from .class_view import centre_view
from .metadata import InputRules
from .resizes import legacy_resize, resize

_BLOCK = 1 << 16  # pixels that are computed at a time, which bounds the memory


def load_rgb(path: str | PathLike) -> np.ndarray:
    """Read a file as `(H, W, 3)` uint8 RGB, as training does. Needs OpenCV and Pillow.

    Raises:
        UserError: If one of these is missing, there is no such file, or it is not a whole image.
    """
    try:
        from ..annotations.images import decode_image
    except ImportError as error:
        raise UserError(
            'reading an image file needs OpenCV and Pillow: pip install opencv-python-headless '
            'pillow; or give a uint8 RGB array'
        ) from error
    try:
        return np.ascontiguousarray(decode_image(Path(path).read_bytes())[..., ::-1])
    except FileNotFoundError as error:
        raise UserError(f'no image at {fspath(path)}') from error
    except (OSError, ValueError) as error:
        raise UserError(f'{fspath(path)} cannot be read as an image: {error}') from error


def check_image(image: np.ndarray) -> np.ndarray:
    """Return an image unchanged, or reject it.

    Raises:
        UserError: If it is not `(H, W, 3)` uint8 with at least one pixel.
    """
    if not isinstance(image, np.ndarray):
        raise UserError(f'expected a path or a uint8 RGB array (H, W, 3), got {type(image)}')
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f'expected a uint8 RGB array (H, W, 3), got {image.dtype} {image.shape}; grey images '
            f'need np.repeat(image[..., None], 3, 2), floats (image * 255).astype(np.uint8)'
        )
    return image


@dataclass(frozen=True)
class Placement:
    """Where an image is in the network's input.

    Attributes:
        original_size: `(height, width)` of the image, in pixels.
        placed_size: `(height, width)` of the image in the input, from the upper left corner.
    """

    original_size: tuple[int, int]
    placed_size: tuple[int, int]

    @property
    def is_resized(self) -> bool:
        """Whether the size of the image in the input differs from its original size."""
        return tuple(self.original_size) != tuple(self.placed_size)

    def boxes_back(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes `(D, 4)` xyxy of the input to pixels of the image, clipped to it."""
        height, width = self.original_size
        scale = np.array(self.original_size[::-1]) / np.array(self.placed_size[::-1])
        limit = np.array([width, height, width, height], np.float32)
        return (boxes * np.tile(scale, 2)).clip(0, limit).astype(np.float32)

    def mask_back(
        self, mask: np.ndarray, logits: np.ndarray | None, *, align_corners: bool
    ) -> np.ndarray:
        """Map a mask of the input to the image, as mmseg does: the logits are resized.

        Args:
            mask: `(H, W)`, the best class of each pixel of the input.
            logits: `(C, H, W)`; only needed where `is_resized`.
            align_corners: Of the resize.
        """
        height, width = self.placed_size
        if not self.is_resized:
            return mask[:height, :width]
        return resize_mask(
            mask[:height, :width],
            logits[:, :height, :width],
            self.original_size,
            align_corners=align_corners,
        )


def place(image: np.ndarray, rules: InputRules) -> tuple[np.ndarray, Placement]:
    """Resize, pad or cut an image `(H, W, 3)` uint8 to the size of the network's input.

    Returns:
        The input `(height, width, 3)` of `rules.input_type`, and where the image is in it.
    """
    original, input_size = image.shape[:2], rules.input_size
    if rules.fit == 'stretch':
        fit = legacy_resize if rules.interpolation == 'legacy' else resize
        return fit(image, input_size), Placement(original, input_size)
    if rules.fit == 'centre':
        view = centre_view(
            image, size=input_size[0], resize=rules.resize, interpolation=rules.interpolation
        )
        return view, Placement(original, input_size)
    factor = min(new / old for new, old in zip(input_size, original, strict=True))
    if rules.within is None:
        factor = min(factor, 1.0)
    else:
        factor = min(factor, rules.within[0] / max(original), rules.within[1] / min(original))
    placed = tuple(max(1, int(size * factor + 0.5)) for size in original)
    canvas = np.full((*input_size, 3), rules.pad_value, np.uint8)
    canvas[: placed[0], : placed[1]] = resize(image, placed)
    return canvas, Placement(original, placed)


def resize_mask(
    mask: np.ndarray, logits: np.ndarray, size_hw: tuple[int, int], *, align_corners: bool
) -> np.ndarray:
    """Return the best class of each pixel after a bilinear resize of the logits.

    Between four cells with the same best class, that class stays the best. So only pixels at the
    borders between classes are computed, and the resized logits never exist in full.

    Args:
        mask: `(H, W)`, the best class of each cell of the logits.
        logits: `(C, H, W)`.
        size_hw: Size of the result.
        align_corners: As for torch's `interpolate`.

    Returns:
        `size_hw`, of the type of `mask`.
    """
    (top, bottom, down), (left, right, along) = (
        _neighbours(old, new, align_corners) for old, new in zip(mask.shape, size_hw, strict=True)
    )
    upper, lower = mask[top], mask[bottom]
    result = upper[:, left]
    is_border = (
        (result != upper[:, right]) | (result != lower[:, left]) | (result != lower[:, right])
    )
    rows, columns = np.nonzero(is_border)
    for start in range(0, len(rows), _BLOCK):
        y, x = rows[start : start + _BLOCK], columns[start : start + _BLOCK]
        above = _between(logits[:, top[y], left[x]], logits[:, top[y], right[x]], along[x])
        below = _between(logits[:, bottom[y], left[x]], logits[:, bottom[y], right[x]], along[x])
        result[y, x] = _between(above, below, down[y]).argmax(0)
    return result


def _between(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return (1 - share) * a + share * b


def _neighbours(old: int, new: int, align_corners: bool) -> tuple[np.ndarray, ...]:
    """Return the two old cells around each new one, and the weight of the second."""
    if align_corners:
        position = np.arange(new) * ((old - 1) / max(new - 1, 1))
    else:
        position = ((np.arange(new) + 0.5) * (old / new) - 0.5).clip(min=0)
    before = np.minimum(position.astype(np.int64), old - 1)
    share = (position - before).astype(np.float32)
    return before, np.minimum(before + 1, old - 1), share
