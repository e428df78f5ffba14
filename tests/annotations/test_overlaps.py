"""The IoU in numpy against the one in torch, to the bit."""

import numpy as np
import pytest
import torch

from mbv2_backbone.annotations.overlaps import areas_of, pairwise_iou, shared_and_union
from mbv2_backbone.det.targets import pairwise_overlaps


def boxes(count, seed):
    corner, side = np.random.default_rng(seed).uniform(0, 50, (2, count, 2)).astype(np.float32)
    side[::7] = 0  # without area
    return np.hstack([corner, corner + side])


@pytest.mark.parametrize('over_first', [False, True])
@pytest.mark.parametrize('counts', [(60, 90), (0, 3), (3, 0), (1, 1)])
def test_numpy_and_torch_agree_to_the_bit(counts, over_first):
    first, second = boxes(counts[0], 0), boxes(counts[1], 1)
    got = pairwise_iou(first, second, over_first=over_first)
    expected = pairwise_overlaps(
        torch.from_numpy(first), torch.from_numpy(second), over_first=over_first
    ).numpy()
    assert got.dtype == np.float32
    assert got.shape == counts
    assert np.array_equal(got, expected)
    assert counts != (60, 90) or 0 < got.mean() < got.max() <= 1


def test_areas_by_hand():
    first, second = np.array([[0.0, 0, 4, 2]]), np.array([[3.0, 1, 5, 5], [9.0, 9, 9, 12]])
    shared, union = shared_and_union(first, second)
    assert shared.tolist() == [[1, 0]]
    assert union.tolist() == [[15, 8]]
    assert areas_of(second).tolist() == [8, 0]
