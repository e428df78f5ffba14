"""Cut the objects of a dataset out, into one folder for each class, to train a classifier on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ....annotations.boxes import Box
from ....common.messages import UserError, first_names
from ....common.progress import track
from ..annotated_images import load_image
from .writing import Splits

_MARGIN = 0.15  # of the longer side of a box, around it
JPEG_QUALITY = 95


def crop_of(image: np.ndarray, box: Box) -> np.ndarray:
    """Return the square part of an image around an object, cut at the image's edges.

    Args:
        image: `(H, W, C)`.
        box: xyxy in pixels from 0, right and lower edge excluded.
    """
    x1, y1, x2, y2 = box
    half = (0.5 + _MARGIN) * max(x2 - x1, y2 - y1)
    centres = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = (max(0, round(centre - half)) for centre in centres)
    right, bottom = (round(centre + half) for centre in centres)
    return image[top:bottom, left:right]


def write_jpeg(path: Path, image: np.ndarray, quality: int = JPEG_QUALITY) -> None:
    """Write `(H, W, 3)` uint8 BGR as a JPEG file."""
    path.write_bytes(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def write_folders(root: Path, classes: Sequence[str], splits: Splits) -> list[str]:
    """Write `root/<split>/<class>/<image>_<number>.jpg`; objects that are ignored are left out.

    Raises:
        UserError: If the name of a class cannot be that of a folder.
    """
    odd = [name for name in classes if name[:1] in ('', '.') or set('/\\') & set(name)]
    if odd:
        raise UserError(
            f'the classes {first_names(odd, 6)} cannot be names of folders; rename them without '
            f'/ and \\, not beginning with a dot'
        )
    left_out = 0
    jobs = [(split, image) for split, images in splits.items() for image in images]
    for split, image in track(jobs, 'Cutting out', unit='images'):
        pixels = load_image(image) if image.items else None
        for i, item in enumerate(image.items):
            crop = crop_of(pixels, item.box)
            if item.is_ignored or not crop.size:
                left_out += 1
                continue
            folder = root / split / classes[item.label]
            folder.mkdir(parents=True, exist_ok=True)
            write_jpeg(folder / f'{Path(image.name).stem}_{i}.jpg', crop)
    return [f'{left_out} ignored object(s) are left out'] if left_out else []
