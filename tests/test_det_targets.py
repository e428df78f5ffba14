"""Matching, coding, losses and selection against loops that anyone can read."""

import math

import pytest
import torch
import torch.nn.functional as F
from boxes_util import boxes, slow_iou

from mbv2_backbone.det.losses import box_loss, classification_loss, hard_negative_weights
from mbv2_backbone.det.postprocess import select_candidates
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


def test_match_without_any_box_is_background_but_for_what_is_excluded():
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


def slow_classification_loss(logits, labels, weights, ratio):
    total = 0.0
    for image_logits, image_labels, image_weights in zip(logits, labels, weights, strict=True):
        losses = [
            (-torch.log_softmax(row, 0)[label] * w).item()
            for row, label, w in zip(image_logits, image_labels, image_weights, strict=True)
        ]
        background = logits.shape[-1] - 1
        positive = [v for v, label in zip(losses, image_labels, strict=True) if label < background]
        negative = sorted(
            (v for v, label in zip(losses, image_labels, strict=True) if label == background),
            reverse=True,
        )
        total += sum(positive) + sum(negative[: int(len(positive) * ratio)])
    return total


@pytest.mark.parametrize('ratio', [0, 3, 1000])
@pytest.mark.parametrize('num_images', [1, 4])
def test_classification_loss_against_the_loop(num_images, ratio):
    logits = torch.randn(num_images, 30, 4)
    labels = torch.where(torch.rand(num_images, 30) < 0.2, torch.randint(0, 3, (num_images, 30)), 3)
    labels[0] = 3  # an image without positives
    weights = (torch.rand(num_images, 30) < 0.9).float().where(labels == 3, 1.0)
    got = classification_loss(logits, labels, weights, neg_pos_ratio=ratio).item()
    expected = slow_classification_loss(logits, labels, weights, ratio)
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_hard_negatives_are_the_hardest():
    losses = torch.tensor([[0.1, 0.9, 0.5, 0.7, 0.3]])
    positive = torch.tensor([[False, False, True, False, False]])
    chosen = hard_negative_weights(losses, positive, ~positive, neg_pos_ratio=2)
    assert chosen.tolist() == [[0, 1, 0, 1, 0]]


def test_box_loss_against_the_loop():
    deltas, targets = torch.randn(2, 8, 4) * 2, torch.randn(2, 8, 4)
    positive = torch.rand(2, 8) < 0.5
    expected = sum(
        F.smooth_l1_loss(deltas[i, p], targets[i, p], reduction='sum', beta=0.7).item()
        for i in range(2)
        for p in range(8)
        if positive[i, p]
    )
    assert box_loss(deltas, targets, positive, beta=0.7).item() == pytest.approx(expected, rel=1e-5)
    assert box_loss(deltas, targets, positive & False, beta=0.7).item() == 0


@pytest.mark.parametrize('max_per_level', [-1, 1, 5, 1000])
def test_selection_against_the_loop(max_per_level):
    logits, level_of = torch.randn(2, 20, 4), torch.arange(20) // 8
    scores = logits.softmax(-1)
    got = select_candidates(logits, level_of, score_thr=0.3, max_per_level=max_per_level)
    expected = []
    for n in range(2):
        found = []
        for level in range(3):
            rows = [
                (scores[n, p, c].item(), p, c)
                for p in range(20)
                for c in range(3)
                if level_of[p] == level and scores[n, p, c] > 0.3
            ]
            rows.sort(reverse=True)
            found += rows if max_per_level < 0 else rows[:max_per_level]
        expected += [(n, p, c) for _, p, c in sorted(found, reverse=True)]
    columns = (got.image, got.prior, got.label)
    assert list(zip(*(t.tolist() for t in columns), strict=True)) == expected
    torch.testing.assert_close(got.score, scores[columns])


def test_selection_of_nothing():
    got = select_candidates(
        torch.rand(2, 4, 3), torch.zeros(4).long(), score_thr=1.0, max_per_level=9
    )
    assert [len(t) for t in got] == [0, 0, 0, 0]
