"""Which ground-truth box a detection matches."""

import itertools

import numpy as np
import pytest
from helpers.boxes import slow_iou

from mbv2_backbone.workbench.report.box_matches import Boxes, confusion_of, match_boxes, match_image


def boxes(rng, count, *, num_classes=3, scores=None):
    corner = rng.uniform(0, 60, (count, 2))
    xyxy = np.hstack([corner, corner + rng.uniform(5, 40, (count, 2))]).astype(np.float32)
    scores = rng.random(count) if scores is None else np.full(count, scores)
    return Boxes(xyxy, rng.integers(0, num_classes, count), scores)


def noisy(rng, truth):
    """Return detections near the truth, some of another class, and some elsewhere."""
    near = np.repeat(truth.xyxy, 2, 0) + rng.normal(0, 2, (2 * len(truth), 4))
    other = boxes(rng, 4)
    labels = np.where(rng.random(len(near)) < 0.2, 0, np.repeat(truth.labels, 2))
    xyxy = np.vstack([near, other.xyxy]).astype(np.float32)
    return Boxes(xyxy, np.r_[labels, other.labels], rng.random(len(xyxy)))


def slow_match(found, truth):
    """Repeatedly take the best pair of the same class, then the best of the rest."""
    pairs = []
    for i, j in itertools.product(range(len(found)), range(len(truth))):
        iou = slow_iou(found.xyxy[i].astype(float), truth.xyxy[j].astype(float))
        if iou >= 0.5:
            pairs.append((found.labels[i] == truth.labels[j], iou, i, j))
    matched = [-1] * len(found)
    while pairs:
        _, _, row, column = max(pairs)
        matched[row] = column
        pairs = [pair for pair in pairs if pair[2] != row and pair[3] != column]
    return matched


@pytest.mark.parametrize('seed', range(5))
def test_matching_equals_the_slow_reference(seed):
    rng = np.random.default_rng(seed)
    truth = boxes(rng, 8, scores=1)
    found = noisy(rng, truth)
    matched = match_boxes(found, truth)
    assert matched.tolist() == slow_match(found, truth)
    assert (matched >= 0).sum() > 3


def test_boxes_without_area_match_nothing():
    flat = Boxes(np.array([[3, 3, 3, 9]], np.float32), np.array([0]), np.ones(1))
    assert match_boxes(flat, flat).tolist() == [-1]
    assert match_boxes(flat.where(np.zeros(1, bool)), flat).tolist() == []


def test_an_image_is_judged_by_the_boxes_that_count():
    square = [0, 0, 10, 10]
    truth = Boxes(
        np.array([square, [20, 0, 30, 10], [40, 0, 60, 20]], np.float32),
        np.array([0, 1, 1]),
        np.array([1, 1, 0]),
    )
    rows = [  # box, label, score
        (square, 0, 0.9),  # right
        (square, 0, 0.8),  # a second one on the same box
        ([20, 0, 30, 10], 0, 0.7),  # another class
        ([41, 1, 51, 11], 1, 0.6),  # on an ignored box
        ([80, 80, 90, 90], 1, 0.2),  # below the threshold
    ]
    found = Boxes(
        np.array([r[0] for r in rows], np.float32),
        np.array([r[1] for r in rows]),
        np.array([r[2] for r in rows]),
    )
    match = match_image(found, truth)
    assert match.is_right.tolist() == [True, False, False]
    assert match.is_seen.tolist() == [True, False]
    assert match.f1 == pytest.approx(2 / 5)
    assert confusion_of(match, 2).tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_no_detections_on_an_empty_image_are_right():
    nothing = boxes(np.random.default_rng(0), 0)
    some = boxes(np.random.default_rng(0), 3, scores=1)
    assert match_image(nothing, nothing).f1 == 1
    assert match_image(nothing, some).f1 == match_image(some, nothing).f1 == 0
    assert confusion_of(match_image(nothing, some), 3)[:3, 3].sum() == 3
    assert confusion_of(match_image(some, nothing), 3)[3].sum() == 3
