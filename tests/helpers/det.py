"""Pipelines of mmdet and ours, and images with boxes to run them on."""

from functools import partial

import mmdet.datasets.transforms  # noqa: F401
import numpy as np
import torch
from helpers.transforms import build_pipeline, smooth_image
from mmdet.structures.bbox import HorizontalBoxes

MIN_IOUS = (0.1, 0.3, 0.5, 0.7, 0.9)
MEAN = (123.675, 116.28, 103.53)
SHAPES = [(30, 40), (64, 64), (90, 50), (37, 61)]  # height, width


build = partial(build_pipeline, 'mmdet')


def stock_steps(mean=MEAN, size=(48, 32)):
    return [
        dict(type='Expand', mean=mean, to_rgb=True, ratio_range=(1, 4)),
        dict(type='MinIoURandomCrop', min_ious=MIN_IOUS, min_crop_size=0.3),
        dict(type='Resize', scale=size, keep_ratio=False),
    ]


def ours_step(size=(48, 32)):
    return dict(type='RandomExpandCropResize', scale=size)


def random_boxes(rng, height, width, count):
    """Return boxes of any size; some touch or cross the edges, some are tiny."""
    limit = np.array([width, height] * 2, np.float32)
    corners = np.sort(rng.uniform(-0.1, 1.1, (count, 2, 2)), 1).reshape(count, 4) * limit
    corners = np.where(rng.random((count, 1)) < 0.5, corners.clip(0, limit), corners)
    return corners.astype(np.float32)


def sample(seed, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    height, width = shapes[seed % len(shapes)]
    count = int(rng.integers(0, 4))
    return dict(
        img=smooth_image(height, width, seed),
        img_shape=(height, width),
        gt_bboxes=HorizontalBoxes(torch.from_numpy(random_boxes(rng, height, width, count))),
        gt_bboxes_labels=rng.integers(0, 9, count),
        gt_ignore_flags=rng.random(count) < 0.3,
    )
