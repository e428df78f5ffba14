"""Matching, box coding and ignored regions against plain loops."""

import math

import pytest
import torch
from helpers.boxes import boxes, slow_iou

from mbv2_backbone.det.targets import (
    BACKGROUND,
    IGNORED,
    decode,
    encode,
    exclude_ignored,
    match,
    pad_boxes,
    pairwise_overlaps,
)

CODING = dict(means=(0.0, 0.0, 0.0, 0.0), stds=(0.1, 0.1, 0.2, 0.2))


@pytest.mark.parametrize(('num_gts', 'num_priors'), [(0, 5), (1, 1), (4, 7)])
def test_overlaps_against_the_loop(num_gts, num_priors):
    first, second = boxes(2, num_gts), boxes(num_priors)
    got = pairwise_overlaps(first, second)
    assert got.shape == (2, num_gts, num_priors)
    for i in range(2):
        for g in range(num_gts):
            for p in range(num_priors):
                expected = slow_iou(first[i, g].tolist(), second[p].tolist())
                assert got[i, g, p].item() == pytest.approx(expected, abs=1e-6)


def slow_match(priors, gts, *, pos_iou_thr, low, high, min_pos_iou):
    matched = []
    overlaps = [[slow_iou(g, p) for p in priors] for g in gts]
    for p in range(len(priors)):
        column = [row[p] for row in overlaps]
        best = max(column, default=0.0)
        if column and best >= pos_iou_thr:
            matched.append(column.index(best))
        else:
            matched.append(BACKGROUND if not column or low <= best < high else IGNORED)
    for g, row in enumerate(overlaps):
        if max(row) >= min_pos_iou:
            matched[row.index(max(row))] = g
    return matched


@pytest.mark.parametrize(
    'thresholds', [(0.5, 0.0, 0.5, 0.0), (0.6, 0.0, 0.3, 0.0), (0.5, 0.1, 0.4, 0.3)]
)
def test_match_against_the_loop(thresholds):
    pos_iou_thr, low, high, min_pos_iou = thresholds
    priors = boxes(40)
    images = [boxes(n) for n in (3, 0, 7, 1)]
    gt_bboxes, _, gt_mask = pad_boxes(images)
    got = match(
        priors,
        gt_bboxes,
        gt_mask,
        pos_iou_thr=pos_iou_thr,
        neg_iou_thr=(low, high),
        min_pos_iou=min_pos_iou,
    )
    for row, gts in zip(got.tolist(), images, strict=True):
        assert row == slow_match(
            priors.tolist(),
            gts.tolist(),
            pos_iou_thr=pos_iou_thr,
            low=low,
            high=high,
            min_pos_iou=min_pos_iou,
        )


def test_without_boxes_all_but_excluded_priors_are_background():
    excluded = torch.tensor([[True, False], [False, False]])
    for num_gts in (0, 3):
        got = match(
            boxes(2),
            torch.zeros(2, num_gts, 4),
            torch.zeros(2, num_gts, dtype=torch.bool),
            excluded=excluded,
        )
        assert got.tolist() == [[IGNORED, BACKGROUND], [BACKGROUND, BACKGROUND]]


def test_the_later_of_two_boxes_takes_a_shared_prior():
    priors = torch.tensor([[0.0, 0, 10, 10], [50, 50, 90, 90]])
    gts = torch.tensor([[[0.0, 0, 10, 9], [0, 0, 9, 10]]])
    assert match(priors, gts, torch.ones(1, 2, dtype=torch.bool)).tolist() == [[1, BACKGROUND]]


def test_excluded_priors_are_never_positive():
    priors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 9, 9], [40, 40, 50, 50]])
    gt = torch.tensor([[[0.0, 0, 10, 10]]])
    excluded = torch.tensor([[True, False, True]])
    got = match(priors, gt, torch.ones(1, 1, dtype=torch.bool), excluded=excluded)
    assert got.tolist() == [[IGNORED, 0, IGNORED]]


def test_pad_boxes():
    bad = torch.tensor([[1.0, 1, 1, 5], [5, 5, 1, 9], [float('nan'), 0, 4, 4], [0, 0, 4, 4]])
    padded, labels, mask = pad_boxes([bad, torch.zeros(0, 4)], [torch.arange(4), torch.arange(0)])
    assert mask.tolist() == [[False, False, False, True], [False] * 4]
    assert padded.isfinite().all()
    assert labels.tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]]
    empty, _, mask = pad_boxes([torch.zeros(0, 4)] * 3)
    assert (empty.shape, mask.shape) == ((3, 0, 4), (3, 0))


def test_exclude_ignored_against_the_loop():
    priors, regions = boxes(30), boxes(2, 3)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    got = exclude_ignored(priors, regions, mask, iof_thr=0.3)
    for i in range(2):
        for p, prior in enumerate(priors.tolist()):
            covered = []
            for r in range(3):
                region = regions[i, r].tolist()
                w = max(0.0, min(prior[2], region[2]) - max(prior[0], region[0]))
                h = max(0.0, min(prior[3], region[3]) - max(prior[1], region[1]))
                area = (prior[2] - prior[0]) * (prior[3] - prior[1])
                covered.append(mask[i, r].item() and w * h / area > 0.3)
            assert got[i, p].item() == any(covered)
    assert got[0].any()


def test_coding_by_hand_and_back():
    prior, box = torch.tensor([0.0, 0, 10, 20]), torch.tensor([1.0, 2, 21, 12])
    expected = [(11 - 5) / 10 / 0.1, (7 - 10) / 20 / 0.1, math.log(2) / 0.2, math.log(0.5) / 0.2]
    torch.testing.assert_close(encode(prior, box, **CODING), torch.tensor(expected))
    priors, targets = boxes(3, 9), boxes(3, 9)
    again = decode(priors, encode(priors, targets, **CODING), **CODING)
    torch.testing.assert_close(again, targets, rtol=1e-4, atol=1e-4)
    assert encode(priors[:, :0], targets[:, :0], **CODING).shape == (3, 0, 4)


def test_decoded_sizes_stay_finite():
    huge = decode(boxes(5), torch.full((5, 4), 1e4), **CODING)
    assert huge.isfinite().all()
