"""Fitting priors: IoU, clusters and recall against loops, and known shapes."""

import numpy as np
import pytest
import torch
from helpers.boxes import slow_iou

from mbv2_backbone.det.priors import ssdlite_shapes
from mbv2_backbone.workbench.new_config.prior_fit import (
    cluster_shapes,
    feature_sizes,
    fit_shapes,
    prior_recall,
    shape_overlaps,
    smallest_matched,
)

SIZE = (128, 128)


def random_boxes(count, seed=0, low=10, high=60):
    rng = np.random.default_rng(seed)
    wh = rng.uniform(low, high, (count, 2))
    corner = rng.uniform(0, 1, (count, 2)) * (SIZE[0] - wh)
    return np.concatenate([corner, corner + wh], 1).astype(np.float32)


@pytest.mark.parametrize('size', [(320, 320), (128, 128), (96, 96), (512, 320)])
def test_feature_sizes_are_those_of_convolutions_of_stride_2(size):
    def conv(x):
        return torch.nn.functional.conv2d(x, torch.ones(1, 1, 3, 3), stride=2, padding=1)

    x = torch.zeros(1, 1, *size)
    for _ in range(4):
        x = conv(x)
    expected = []
    for _ in range(6):
        expected.append(tuple(x.shape[2:]))
        if max(x.shape[2:]) == 1:
            break
        x = conv(x)
    assert feature_sizes(size, (16, 32), 6) == expected


def test_overlaps_of_shapes_against_the_loop():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(1, 9, (7, 2)), rng.uniform(1, 9, (4, 2))
    expected = [[slow_iou((0, 0, *a), (0, 0, *b)) for b in second] for a in first]
    np.testing.assert_allclose(shape_overlaps(first, second), expected)
    assert shape_overlaps(first[:0], second).shape == (0, 4)


@pytest.mark.parametrize('iou_thr', [0.35, 0.5, 0.7])
def test_the_smallest_matched_square_has_the_stated_overlap_in_a_cell_corner(iou_thr):
    side = smallest_matched(16, iou_thr)
    assert slow_iou((0, 0, side, side), (8, 8, side + 8, side + 8)) == pytest.approx(iou_thr)


def test_clusters_find_the_given_shapes():
    rng = np.random.default_rng(0)
    truth = np.array([(10, 12), (30, 20), (25, 60)], float)
    wh = truth[rng.integers(0, 3, 300)] + rng.normal(0, 0.3, (300, 2))
    np.testing.assert_allclose(cluster_shapes(wh, 3), truth, atol=0.2)


def test_a_few_small_boxes_get_a_shape_beside_many_large_ones():
    rng = np.random.default_rng(0)
    wh = np.concatenate([np.full((10, 2), 10.0), rng.uniform(80, 100, (500, 2))])
    assert cluster_shapes(wh, 4)[0].tolist() == [10, 10]


def test_no_more_clusters_than_shapes():
    assert cluster_shapes(np.array([[5.0, 6.0]] * 9), 6).tolist() == [[5, 6]]


def slow_recall(boxes, shapes, levels, iou_thr):
    priors = []
    for level, (rows, columns) in zip(shapes, levels, strict=True):
        for row in range(rows):
            for column in range(columns):
                y, x = (row + 0.5) * SIZE[0] / rows, (column + 0.5) * SIZE[1] / columns
                for w, h in level:
                    w, h = w * SIZE[0], h * SIZE[1]
                    priors.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    found = sum(any(slow_iou(box, prior) >= iou_thr for prior in priors) for box in boxes)
    return found / len(boxes)


def test_recall_against_the_loop():
    levels = feature_sizes(SIZE, (16, 32), 4)
    shapes = [level.tolist() for level in ssdlite_shapes(len(levels))]
    boxes = random_boxes(300, low=20, high=90)
    expected = slow_recall(boxes[:40].tolist(), shapes, levels, 0.5)
    got = prior_recall(torch.tensor(boxes[:40]), shapes, SIZE, levels, iou_thr=0.5)
    assert 0 < got < 1
    assert got == pytest.approx(expected)
    # Several chunks give the same as one.
    parts = [
        prior_recall(torch.tensor(b), shapes, SIZE, levels, iou_thr=0.5) for b in boxes[:, None]
    ]
    assert prior_recall(torch.tensor(boxes), shapes, SIZE, levels, iou_thr=0.5) == pytest.approx(
        np.mean(parts)
    )
    assert prior_recall(torch.zeros(0, 4), shapes, SIZE, levels, iou_thr=0.5) == 1


@pytest.mark.parametrize(('low', 'high'), [(8, 20), (12, 30)])
def test_fitted_priors_find_more_than_the_default(low, high):
    levels = feature_sizes(SIZE, (8, 16, 32), 5)
    boxes = random_boxes(400, low=low, high=high)
    fitted = fit_shapes(boxes[:, 2:] - boxes[:, :2], SIZE, levels, iou_thr=0.5)
    assert [1 <= len(level) <= 6 for level in fitted] == [True] * len(levels)
    default = [level.tolist() for level in ssdlite_shapes(len(levels))]
    others = torch.tensor(random_boxes(400, seed=1, low=low, high=high))
    recalls = [
        prior_recall(others, shapes, SIZE, levels, iou_thr=0.5) for shapes in (fitted, default)
    ]
    assert recalls[0] > recalls[1] + 0.05


def test_boxes_go_to_the_level_of_their_size():
    levels = feature_sizes(SIZE, (8, 16, 32), 5)
    small, large = np.full((50, 2), 12.0), np.full((50, 2), 100.0)
    fitted = fit_shapes(np.concatenate([small, large]), SIZE, levels, iou_thr=0.5)
    assert fitted[0] == [(0.094, 0.094)]
    assert fitted[2] == [(0.781, 0.781)]
    assert [len(level) for level in fitted] == [1] * 5


def test_of_two_maps_of_one_size_the_second_takes_the_larger_boxes():
    levels = feature_sizes(SIZE, (16, 16, 32), 5)
    wh = np.concatenate([np.full((50, 2), 45.0), np.full((50, 2), 70.0)])
    fitted = fit_shapes(wh, SIZE, levels, iou_thr=0.5)
    assert fitted[:2] == [[(0.352, 0.352)], [(0.547, 0.547)]]


def test_no_boxes_give_one_square_per_level():
    levels = feature_sizes(SIZE, (16, 32), 4)
    fitted = fit_shapes(np.zeros((0, 2)), SIZE, levels, iou_thr=0.5)
    assert [len(level) for level in fitted] == [1, 1, 1, 1]
