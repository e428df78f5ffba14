"""IoU in numpy against IoU in torch, bit for bit."""

import numpy as np
import pytest
import torch

from mbv2_backbone.annotations.overlaps import (
    areas_of,
    match_one_to_one,
    pairwise_iou,
    shared_and_union,
)
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


@pytest.mark.parametrize('shape', [(9, 6), (4, 12), (0, 3), (3, 0)])
def test_matching_repeatedly_takes_the_cheapest_free_pair(shape):
    rng = np.random.default_rng(sum(shape))
    is_pair = rng.random(shape) < 0.6
    first, last = rng.integers(0, 4, shape), rng.integers(0, 2, shape)
    expected = np.full(shape[0], -1)
    free = [(last[i, j], first[i, j], i, j) for i, j in np.argwhere(is_pair)]
    while free:
        *_, row, column = min(free)
        expected[row] = column
        free = [pair for pair in free if pair[2] != row and pair[3] != column]
    assert match_one_to_one(is_pair, first, last).tolist() == expected.tolist()
