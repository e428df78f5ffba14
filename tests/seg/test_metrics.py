"""The segmentation metric, and the masks that it writes."""

import numpy as np
import torch
from PIL import Image

from mbv2_backbone.seg.metrics import ClassIoUMetric


def test_reduce_zero_label_comes_back_in_the_masks(tmp_path):
    metric = ClassIoUMetric(mask_dir=str(tmp_path), iou_metrics=['mIoU'])
    metric.dataset_meta = dict(
        classes=('wall', 'sky', 'sea'), palette=[(9, 9, 9), [5, 5, 5], (1, 2, 3)]
    )
    predicted = torch.tensor([[[0, 1], [1, 0]]])
    sample = dict(
        pred_sem_seg=dict(data=predicted),
        gt_sem_seg=dict(data=torch.tensor([[[0, 1], [255, 1]]])),
        img_path='some/where/x.y.jpg',
        reduce_zero_label=True,
    )
    metric.process({}, [sample, sample])
    mask = Image.open(tmp_path / 'x.y.png')
    assert np.array_equal(np.asarray(mask), predicted[0].numpy() + 1)
    assert mask.getpalette()[:12] == [0, 0, 0, 9, 9, 9, 5, 5, 5, 1, 2, 3]
    metrics = metric.compute_metrics(metric.results)
    assert {k: v for k, v in metrics.items() if '/' in k} == {
        'IoU/wall': 50, 'IoU/sky': 50, 'Acc/wall': 100, 'Acc/sky': 50}  # fmt: skip
