"""Images of the report: ground truth next to prediction, small enough for one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import ImageColor

from ...annotations.images import read_image
from ..drawing.pixels import draw_boxes, fitted_size, overlay, resized
from .box_matches import Match
from .ranking import RankedImage
from .segmentation import from_png
from .style import BLUE, PURPLE, VERMILION

PANEL_SIDE = 400
ALL_BYTES = 3_900_000  # size of all images of a report; base64 adds a third
_QUALITIES = (80, 60, 40, 20)
_GAP = 6


def compare_boxes(
    image: RankedImage, classes: Sequence[str], *, has_truth: bool
) -> np.ndarray | None:
    """Draw ground truth and detected boxes side by side; blue is right, vermilion missed or wrong.

    If the test split has no boxes, all detections have the same colour.

    Returns:
        `(H, W, 3)` uint8 BGR; `None` if the file cannot be read any more.
    """
    match: Match = image.content
    truth_names = [classes[label] for label in match.truth.labels]
    found = zip(match.found.labels, match.found.scores, strict=True)
    found_names = [f'{classes[label]} {score:.2f}' for label, score in found]
    good, bad = (BLUE, VERMILION) if has_truth else (PURPLE, PURPLE)
    seen, right = (
        [ImageColor.getrgb(good if is_good else bad) for is_good in flags]
        for flags in (match.is_seen, match.is_right)
    )
    return _side_by_side(
        image,
        lambda panel, scale: draw_boxes(panel, match.truth.xyxy * scale, truth_names, seen),
        lambda panel, scale: draw_boxes(panel, match.found.xyxy * scale, found_names, right),
    )


def compare_masks(image: RankedImage, palette: Sequence[Sequence[int]]) -> np.ndarray | None:
    """Draw ground truth and predicted mask side by side; without ground truth only the image.

    Returns:
        `(H, W, 3)` uint8 BGR; `None` if the file cannot be read any more.
    """
    truth, predicted = image.content
    return _side_by_side(
        image,
        lambda panel, _: panel if truth is None else _with_mask(panel, truth, palette),
        lambda panel, _: _with_mask(panel, predicted, palette),
    )


def encode(image: np.ndarray, max_bytes: int) -> bytes:
    """Encode an image as WebP, at the best quality that fits into a number of bytes."""
    for quality in _QUALITIES:
        data = cv2.imencode('.webp', image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        if len(data) <= max_bytes:
            break
    return data


def fitted_panel(image: RankedImage) -> np.ndarray | None:
    """Return the image, `PANEL_SIDE` long; `None` if the file cannot be read any more."""
    panel = read_image(image.path, tuple(image.size_hw[::-1]))
    return None if panel is None else resized(panel, fitted_size(panel, PANEL_SIDE))


def _side_by_side(
    image: RankedImage, *draw: Callable[[np.ndarray, float], np.ndarray]
) -> np.ndarray | None:
    panel = fitted_panel(image)
    if panel is None:
        return None
    scale = PANEL_SIDE / max(image.size_hw)
    gap = np.full((len(panel), _GAP, 3), 255, np.uint8)
    left, right = (function(panel, scale) for function in draw)
    return np.concatenate([left, gap, right], axis=1)


def _with_mask(panel: np.ndarray, mask: bytes, palette: Sequence[Sequence[int]]) -> np.ndarray:
    labels = cv2.resize(from_png(mask), panel.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return overlay(panel, labels, palette)
