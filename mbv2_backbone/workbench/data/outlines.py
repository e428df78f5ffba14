"""Object outlines as polygons, one per part."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ...annotations.extents import polygon_parts, run_lengths, runs_to_mask
from .records import Outline, Size


def read_outline(stored: Any, size_wh: Size) -> list[list[float]]:
    """Convert COCO's polygons or run lengths to polygons inside the image.

    Args:
        stored: Lists `[x, y, x, y, …]` of the parts, or a dict of run lengths. One part may stand
            alone, and a part may be a list of points `[x, y]`.
        size_wh: Width and height of the image.

    Returns:
        A flat list for each part of three points or more; empty where there is no outline.

    Raises:
        UserError: If they are not an outline in an image of this size.
    """
    if isinstance(stored, dict):
        return mask_to_polygons(runs_to_mask(run_lengths(stored, size_wh), size_wh))
    return [
        [min(max(v, 0), size_wh[i % 2]) for i, v in enumerate(part)]
        for part in polygon_parts(stored)
    ]


def mask_to_polygons(mask: np.ndarray) -> list[list[int]]:
    """Trace a mask along its pixel edges.

    COCO reads a list of polygons as their union, so a mask with a hole is cut in two through the
    hole. Rasterising the result with pycocotools restores the mask.

    Args:
        mask: bool ``(H, W)``.

    Returns:
        One flat ``[x0, y0, x1, y1, ...]`` per part, in pixel edges; empty for an empty mask.
    """
    # At twice the resolution every border point is in a known half of its pixel,
    # which tells the pixel edge it belongs to: 2x -> x, 2x + 1 -> x + 1.
    pixels = mask.astype(np.uint8)
    doubled = cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0] if contours else (), strict=True):
        if parent >= 0:
            cut = (int(contour[:, 0, 0].min() + contour[:, 0, 0].max()) // 2 + 1) // 2
            is_left = np.arange(mask.shape[1]) < cut
            return mask_to_polygons(mask & is_left) + mask_to_polygons(mask & ~is_left)
    return [_corners((contour[:, 0] + 1) // 2).ravel().tolist() for contour in contours]


def _corners(points: np.ndarray) -> np.ndarray:
    """Drop repeated and collinear points of a closed path ``(N, 2)``."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before = points - np.roll(points, 1, axis=0)
    after = np.roll(points, -1, axis=0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def area_of(outline: Outline) -> float:
    """Sum the areas of the parts, in pixels.

    Example:
        >>> area_of([[0, 0, 4, 0, 4, 3, 0, 3]])
        12.0
    """
    total = 0.0
    for part in outline:
        x, y = np.asarray(part, np.float64).reshape(-1, 2).T
        before = np.arange(-1, len(x) - 1)
        total += abs(float(x @ y[before] - y @ x[before])) / 2
    return total


def bounds_of(outline: Outline) -> tuple[float, float, float, float]:
    """Return the corners xyxy of the box around all parts."""
    points = np.concatenate([np.asarray(part, np.float64).reshape(-1, 2) for part in outline])
    return (*points.min(0).tolist(), *points.max(0).tolist())


def join_parts(outline: Outline) -> list[float]:
    """Join several polygons into one, with zero-area bridges between the nearest points."""
    parts = [np.asarray(part, np.float64).reshape(-1, 2) for part in outline]
    joined = parts.pop(0)
    for part in parts:
        distances = ((joined[:, None] - part[None]) ** 2).sum(-1)
        i, k = np.unravel_index(distances.argmin(), distances.shape)
        detour = np.concatenate([part[k:], part[: k + 1]])
        joined = np.concatenate([joined[: i + 1], detour, joined[i:]])
    return joined.ravel().tolist()
