"""Task-aligned and adaptive matching against loops and mmdet."""

import pytest
import torch
from helpers.boxes import boxes, slow_iou
from measure.recipes.matching import match_adaptive, match_aligned
from mmdet.models.task_modules.assigners import ATSSAssigner, TaskAlignedAssigner
from mmengine.structures import InstanceData

from mbv2_backbone.det.targets import BACKGROUND, IGNORED, pad_boxes

SETTINGS = [(13, 1.0, 6.0), (3, 0.5, 2.0), (200, 1.0, 1.0)]


def slow_match(scores, bboxes, priors, gts, labels, *, topk, alpha, beta, excluded):
    """Return the matched box of each prior of one image, with plain lists."""
    takers = {p: [] for p in range(len(priors))}
    alignment = {}
    for g, (gt, label) in enumerate(zip(gts, labels, strict=True)):
        inside = [
            p
            for p, prior in enumerate(priors)
            if gt[0] < (prior[0] + prior[2]) / 2 < gt[2]
            and gt[1] < (prior[1] + prior[3]) / 2 < gt[3]
        ]
        if not inside:
            shape_ious = [slow_iou(gt, prior) for prior in priors]
            inside = [shape_ious.index(max(shape_ious))]
        for p in range(len(priors)):
            alignment[g, p] = scores[p][label] ** alpha * slow_iou(gt, bboxes[p]) ** beta
        allowed = [p for p in inside if not excluded[p] and alignment[g, p] > 0]
        for p in sorted(allowed, key=lambda p: -alignment[g, p])[:topk]:
            takers[p].append(g)
    return [
        IGNORED
        if excluded[p]
        else max(takers[p], key=lambda g: slow_iou(gts[g], bboxes[p]), default=BACKGROUND)
        for p in range(len(priors))
    ]


@pytest.mark.parametrize('with_excluded', [False, True])
@pytest.mark.parametrize(
    ('topk', 'alpha', 'beta'), [(13, 1.0, 6.0), (3, 0.5, 2.0), (200, 1.0, 1.0)]
)
def test_aligned_matching_against_the_loop(topk, alpha, beta, with_excluded):
    priors = boxes(60, size=10)
    gts = [boxes(n) for n in (4, 0, 9)] + [boxes(5, size=1)]  # the last fall between the centres
    labels = [torch.randint(0, 3, (len(g),)) for g in gts]
    scores, bboxes = torch.rand(4, 60, 3), boxes(4, 60)
    excluded = torch.rand(4, 60) < 0.2 if with_excluded else None
    settings = dict(topk=topk, alpha=alpha, beta=beta)
    matched = match_aligned(
        scores, bboxes, priors, *pad_boxes(gts, labels), excluded=excluded, **settings
    )
    for i in range(4):
        expected = slow_match(
            scores[i].tolist(),
            bboxes[i].tolist(),
            priors.tolist(),
            gts[i].tolist(),
            labels[i].tolist(),
            excluded=excluded[i].tolist() if with_excluded else [False] * 60,
            **settings,
        )
        assert matched[i].tolist() == expected
    assert (matched >= 0).any()


def test_aligned_matching_equals_mmdets_where_all_centres_lie_inside():
    # mmdet counts the priors outside a box among its topk, then drops them; here none is outside.
    priors = boxes(60, size=10)
    gts = torch.tensor([[-5.0, -5, 200, 200], [-9, -9, 90, 120], [-1, -1, 120, 80]])
    labels = torch.tensor([0, 2, 1])
    scores, bboxes = torch.rand(60, 3), boxes(60)
    matched = match_aligned(scores[None], bboxes[None], priors, *pad_boxes([gts], [labels]))
    theirs = TaskAlignedAssigner(topk=13).assign(
        InstanceData(priors=priors, bboxes=bboxes, scores=scores),
        InstanceData(bboxes=gts, labels=labels),
        alpha=1,
        beta=6,
    )
    assert matched[0].tolist() == (theirs.gt_inds - 1).tolist()


def grid(stride, size=64):
    """Two priors in each cell, their centres apart: topk may take either of two equally near."""
    centre = torch.arange(stride / 2, size, stride)
    x, y = torch.meshgrid(centre, centre, indexing='xy')
    centres = torch.stack([x, y], -1).reshape(-1, 1, 2)
    before = torch.tensor([[1.0, 1.0], [1.6, 1.1]]) * stride
    after = torch.tensor([[1.0, 1.0], [1.7, 1.3]]) * stride
    return torch.cat([centres - before, centres + after], -1).reshape(-1, 4)


@pytest.mark.parametrize('topk', [1, 9, 60])
def test_adaptive_matching_equals_mmdets(topk):
    levels = [grid(8), grid(16), grid(32)]
    priors, sizes = torch.cat(levels), [len(level) for level in levels]
    images = [boxes(n) for n in (5, 1, 12)]
    gt_bboxes, _, gt_mask = pad_boxes(images)
    matched = match_adaptive(priors, gt_bboxes, gt_mask, level_sizes=sizes, topk=topk)
    for image, ours in zip(images, matched, strict=True):
        theirs = ATSSAssigner(topk=topk).assign(
            InstanceData(priors=priors),
            sizes,
            InstanceData(bboxes=image, labels=torch.zeros(len(image), dtype=torch.long)),
        )
        assert ours.tolist() == (theirs.gt_inds - 1).tolist()
    assert (matched >= 0).any()


def test_adaptive_matching_passes_over_excluded_priors():
    priors = grid(8)
    gt_bboxes, _, gt_mask = pad_boxes([torch.tensor([[10.0, 10, 40, 40]])])
    plain = match_adaptive(priors, gt_bboxes, gt_mask, level_sizes=[len(priors)])
    excluded = plain >= 0
    matched = match_adaptive(
        priors, gt_bboxes, gt_mask, level_sizes=[len(priors)], excluded=excluded
    )
    assert (matched[excluded] == IGNORED).all()
    assert (matched[~excluded] != IGNORED).all()
    assert (matched >= 0).any()  # the next nearest
