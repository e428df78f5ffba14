"""Predict on an uploaded image and prepare the response for the page."""

from __future__ import annotations

import base64
import time
from io import BytesIO
from math import inf
from typing import TYPE_CHECKING

import cv2
import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image

from ...annotations.images import decode_image
from ...common.messages import UserError
from ..drawing.painter import likeliest, mask_labels

if TYPE_CHECKING:
    from ..predict.file_predictor import FilePredictor

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000
_VIEW_SIDE = 1600  # longest side of the mask sent to the page; a screen shows no more


def answer(predictor: FilePredictor, data: bytes) -> dict:
    """Predict on the bytes of an image file.

    Returns:
        `width` and `height` of the image; `boxes`, each with `label`, `score` and `xyxy` in
        pixels, by descending score; `mask`, a gray PNG of the labels as a data URL, and `areas`,
        the share of the image of each label in it, or `None`; `likeliest`, label and score of the
        image's likeliest classes; `milliseconds` the prediction took.

    Raises:
        UserError: If it is not an image, or too large.
    """
    image = decode(data)
    begin = time.perf_counter()
    sample = predictor([image])[0]
    milliseconds = round(1000 * (time.perf_counter() - begin), 1)
    height, width = image.shape[:2]
    return dict(
        width=width,
        height=height,
        milliseconds=milliseconds,
        boxes=_boxes(sample),
        likeliest=[dict(label=label, score=score) for label, score in _classes(sample)],
        **_masks(sample),
    )


def decode(data: bytes) -> np.ndarray:
    """Decode an image `(H, W, 3)` uint8 BGR, rotated by its EXIF data.

    Raises:
        UserError: If it is not an image, or too large.
    """
    if len(data) > MAX_BYTES:
        raise too_large(len(data))
    try:
        with Image.open(BytesIO(data)) as header:
            num_pixels = header.width * header.height
    except Image.DecompressionBombError:  # above Pillow's own limit, which is higher
        num_pixels = inf
    except Exception as error:  # Pillow raises almost anything on damaged files
        raise UserError('This file cannot be read as an image; use a JPEG or PNG.') from error
    if num_pixels > MAX_PIXELS:
        limit = MAX_PIXELS // 10**6
        raise UserError(f'The image has more than {limit} million pixels; make it smaller.')
    try:
        return decode_image(data)
    except ValueError as error:
        raise UserError('The image is damaged or truncated; save it again.') from error


def too_large(size: int) -> UserError:
    """Return the error for a file of this many bytes."""
    limit = MAX_BYTES // 2**20
    return UserError(f'The file has {size / 2**20:.0f} MB, more than {limit}; make it smaller.')


def _boxes(sample: BaseDataElement) -> list[dict]:
    if 'pred_instances' not in sample:
        return []
    found = sample.pred_instances.cpu()
    columns = found.labels.tolist(), found.scores.tolist(), found.bboxes.tolist()
    return [
        dict(label=label, score=score, xyxy=[round(v, 1) for v in xyxy])
        for label, score, xyxy in zip(*columns, strict=True)
    ]


def _classes(sample: BaseDataElement) -> list[tuple[int, float]]:
    return likeliest(sample) if 'pred_scores' in sample else []


def _masks(sample: BaseDataElement) -> dict:
    labels = mask_labels(sample, 'pred_sem_seg')
    if labels is None:
        return dict(mask=None, areas=None)
    counts = np.bincount(labels.ravel())
    areas = {int(label): counts[label] / labels.size for label in np.flatnonzero(counts)}
    scale = min(1.0, _VIEW_SIDE / max(labels.shape))
    small = cv2.resize(labels, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    png = base64.b64encode(cv2.imencode('.png', small)[1].tobytes()).decode()
    return dict(mask=f'data:image/png;base64,{png}', areas=areas)
