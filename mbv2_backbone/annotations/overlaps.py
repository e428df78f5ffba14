"""Overlaps of boxes, in numpy alone."""

from __future__ import annotations

import numpy as np


def areas_of(boxes: np.ndarray) -> np.ndarray:
    """Return the areas `(N,)` of boxes `(N, 4)` xyxy."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def shared_and_union(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the intersection and union areas of all pairs.

    Args:
        first: `(A, 4)` boxes xyxy.
        second: `(B, 4)` boxes xyxy.

    Returns:
        Two arrays `(A, B)` of the type of the boxes.
    """
    x1, y1, x2, y2 = first.T[..., None]
    width = np.minimum(x2, second[:, 2]) - np.maximum(x1, second[:, 0])
    height = np.minimum(y2, second[:, 3]) - np.maximum(y1, second[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    return shared, areas_of(first)[:, None] + areas_of(second) - shared


def pairwise_iou(first: np.ndarray, second: np.ndarray, *, over_first: bool = False) -> np.ndarray:
    """Intersection over union of all pairs, bit for bit that of `det.targets.pairwise_overlaps`.

    Args:
        first: `(A, 4)` boxes xyxy.
        second: `(B, 4)` boxes xyxy.
        over_first: Divide by the area of the first box instead of the union.

    Returns:
        `(A, B)` in [0, 1]; 0 where the divisor is 0.

    Example:
        >>> pairwise_iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]])).round(3)
        array([[0.333]])
    """
    shared, divisor = shared_and_union(first, second)
    if over_first:
        divisor = areas_of(first)[:, None]
    return shared / np.maximum(divisor, 1e-6)


def match_one_to_one(is_pair: np.ndarray, *costs: np.ndarray) -> np.ndarray:
    """Match rows and columns greedily, the cheapest pair first; ties go to the top row.

    Args:
        is_pair: `(A, B)` bool, which pairs may be matched.
        costs: `(A, B)` each; the last one decides, and the one before it breaks ties.

    Returns:
        `(A,)` int64: the column of each row, or -1.

    Example:
        >>> match_one_to_one(np.ones((2, 2), bool), np.array([[3, 1], [0, 2]])).tolist()
        [1, 0]
    """
    rows, columns = np.nonzero(is_pair)
    matched, taken = np.full(len(is_pair), -1), np.zeros(is_pair.shape[1], bool)
    for i in np.lexsort([cost[rows, columns] for cost in costs]):
        if matched[rows[i]] < 0 and not taken[columns[i]]:
            matched[rows[i]] = columns[i]
            taken[columns[i]] = True
    return matched
