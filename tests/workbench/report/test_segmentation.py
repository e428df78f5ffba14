"""Pixel confusion matrix."""

import itertools

import numpy as np
import pytest
import torch

from mbv2_backbone.workbench.report.segmentation import confusion_of_pixels, mean_iou


def test_confusion_of_pixels_counts_every_pair():
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randint(3, (9, 11), generator=generator)
    truth = torch.randint(4, (9, 11), generator=generator)
    truth[truth == 3] = 255
    counts = confusion_of_pixels(predicted, truth, 3)
    for row, column in itertools.product(range(3), range(3)):
        assert counts[row, column] == ((truth == row) & (predicted == column)).sum()
    assert confusion_of_pixels(predicted, torch.full_like(truth, 255), 3).sum() == 0
    unknown = truth.where(truth != 2, 7)  # check_masks=False accepts labels that are not a class
    assert confusion_of_pixels(predicted, unknown, 3)[:2].equal(counts[:2])
    assert confusion_of_pixels(predicted, unknown, 3)[2].sum() == 0
    assert mean_iou(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])) == pytest.approx(
        (3 / 4 + 2 / 3) / 2
    )
    assert mean_iou(np.zeros((3, 3), int)) == 1
