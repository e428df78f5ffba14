"""From logits to the mask of an image of another size, in numpy."""

from __future__ import annotations

import numpy as np

_BLOCK = 1 << 16  # pixels that are computed at a time, which bounds the memory


def resize_mask(
    mask: np.ndarray, logits: np.ndarray, size_hw: tuple[int, int], *, align_corners: bool
) -> np.ndarray:
    """Return the best class of each pixel after a bilinear resize of the logits.

    Between four cells with one best class, that class stays the best. So only pixels at the
    borders between classes are computed, and the resized logits never exist as a whole.

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
    """Return for each new cell the old ones on both sides, and the share of the second."""
    if align_corners:
        position = np.arange(new) * ((old - 1) / max(new - 1, 1))
    else:
        position = ((np.arange(new) + 0.5) * (old / new) - 0.5).clip(min=0)
    before = np.minimum(position.astype(np.int64), old - 1)
    share = (position - before).astype(np.float32)
    return before, np.minimum(before + 1, old - 1), share
