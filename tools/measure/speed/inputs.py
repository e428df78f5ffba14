"""Seeded images and annotations for the measurements."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

Size = tuple[int, int]
BOXES_PER_IMAGE = 7  # mean of COCO
_GRAIN = 18  # so that a JPEG file is as large as COCO's, about 160 kB


def random_image(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Draw clouds of colour with some grain, uint8 `(H, W, 3)`."""
    height, width = size
    clouds = rng.integers(0, 256, (12, 16, 3)).astype(np.float32)
    image = cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    return (image + rng.normal(0, _GRAIN, image.shape)).clip(0, 255).astype(np.uint8)


def random_boxes(rng: np.random.Generator, size: Size, count: int) -> np.ndarray:
    """Draw boxes `(count, 4)` float32 xyxy in pixels; sides from 1/20 to 7/10 of the image's."""
    limit = np.array(size[::-1])
    sides = np.exp(rng.uniform(np.log(0.05), np.log(0.7), (count, 2))) * limit
    start = rng.random((count, 2)) * (limit - sides)
    return np.concatenate([start, start + sides], 1).astype(np.float32)


def random_mask(rng: np.random.Generator, size: Size, num_classes: int) -> np.ndarray:
    """Draw patches of classes, uint8 `(H, W)`."""
    patches = rng.integers(0, num_classes, (6, 8), dtype=np.uint8)
    return cv2.resize(patches, size[::-1], interpolation=cv2.INTER_NEAREST)


def training_batch(
    *,
    batch_size: int,
    size: Size,
    num_classes: int,
    num_seg_classes: int,
    task: str,
    seed: int = 0,
) -> dict:
    """Draw what a training loader hands over.

    Args:
        batch_size: Number of images.
        size: Height and width of the images.
        num_classes: Classes of boxes.
        num_seg_classes: Classes of masks.
        task: `det` for mmdet's samples with boxes, `seg` for mmseg's with masks, `joint` for
            mmdet's with both.
        seed: The same seed gives the same images, boxes and masks whatever the task.

    Returns:
        `inputs`, BGR uint8 `(3, H, W)` each, and `data_samples`.
    """
    rng = np.random.default_rng(seed)
    inputs, samples = [], []
    for i in range(batch_size):
        inputs.append(torch.from_numpy(random_image(rng, size).transpose(2, 0, 1).copy()))
        count = int(np.clip(rng.poisson(BOXES_PER_IMAGE), 1, 40))
        boxes = random_boxes(rng, size, count)
        labels = rng.integers(0, max(num_classes, 1), count)
        mask = torch.from_numpy(random_mask(rng, size, max(num_seg_classes, 1)))[None]
        meta = dict(img_id=i, img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), flip=False)
        if task == 'seg':
            sample = SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=mask.long()))
        else:
            none = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
            sample = DetDataSample(
                metainfo=meta,
                gt_instances=InstanceData(
                    bboxes=torch.from_numpy(boxes), labels=torch.from_numpy(labels)
                ),
                ignored_instances=none,
            )
            if task == 'joint':
                sample.gt_sem_seg = PixelData(sem_seg=mask)
                sample.set_metainfo(dict(gt_label=0))  # for a classifier, if there is one
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)
