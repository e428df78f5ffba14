"""Adaptive matching and the losses of quality against loops, mmdet, torchvision; the head."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import ATSSAssigner, TaskAlignedAssigner
from mmengine.structures import InstanceData
from test_det_head import config as stock_config
from test_det_head import features, random_batch
from test_det_targets import boxes, slow_iou
from torchvision.ops import box_iou, generalized_box_iou_loss
from util import randomise

from mbv2_backbone.det import QualitySSDLiteHead, SSDLiteHead
from mbv2_backbone.det.losses import paired_overlaps, quality_loss
from mbv2_backbone.det.matching import match_adaptive, match_aligned
from mbv2_backbone.det.targets import BACKGROUND, IGNORED, decode, pad_boxes

SETTINGS = [(13, 1.0, 6.0), (3, 0.5, 2.0), (200, 1.0, 1.0)]


def slow_match(scores, bboxes, priors, gts, labels, *, topk, alpha, beta, excluded):
    """One image, by lists: the matched box of each prior."""
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
    # mmdet counts the priors outside a box among its topk and drops them then; here none is.
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
    """Two priors in each cell of a map."""
    centre = torch.arange(stride / 2, size, stride)
    x, y = torch.meshgrid(centre, centre, indexing='xy')
    centres = torch.stack([x, y], -1).reshape(-1, 1, 2)
    half = torch.tensor([[1.0, 1.0], [1.6, 1.1]]) * stride
    return torch.cat([centres - half, centres + half], -1).reshape(-1, 4)


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


def test_quality_loss_against_the_loop():
    logits = torch.randn(2, 7, 4) * 3
    labels = torch.randint(0, 4, (2, 7))
    quality = torch.rand(2, 7) * (labels < 3)
    got = quality_loss(logits, labels, quality, gamma=1.5)
    for i in range(2):
        for p in range(7):
            target = [0.0] * 4
            target[labels[i, p]] = quality[i, p].item()
            target[3] = 1 - quality[i, p].item()
            score = logits[i, p].softmax(-1).tolist()
            distance = sum(abs(s - t) for s, t in zip(score, target, strict=True)) / 2
            log_score = logits[i, p].log_softmax(-1).tolist()
            entropy = -sum(t * s for t, s in zip(target, log_score, strict=True))
            assert got[i, p].item() == pytest.approx(distance**1.5 * entropy, rel=1e-4)


def test_quality_loss_of_background_is_the_focal_loss():
    logits = torch.randn(1, 5, 3)
    labels = torch.full((1, 5), 2)
    score = logits.softmax(-1)[..., 2]
    expected = (1 - score) ** 2 * F.cross_entropy(logits[0], labels[0], reduction='none')
    torch.testing.assert_close(quality_loss(logits, labels, torch.zeros(1, 5)), expected)


def test_paired_overlaps_equal_torchvisions_and_stay_finite():
    first, second = boxes(50), boxes(50)
    iou, generalised = paired_overlaps(first, second)
    torch.testing.assert_close(iou, box_iou(first, second).diagonal())
    torch.testing.assert_close(1 - generalised, generalized_box_iou_loss(first, second))
    empty = torch.zeros(1, 4, requires_grad=True)
    sum(paired_overlaps(empty, torch.zeros(1, 4))).sum().backward()
    assert empty.grad.isfinite().all()


ASSIGNERS = {
    'MaxIoU': dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4),
    'ATSS': dict(type='ATSSAssigner', topk=5),
    'TaskAligned': dict(type='TaskAlignedAssigner', topk=4),
}
each_assigner = pytest.mark.parametrize('assigner', ASSIGNERS.values(), ids=ASSIGNERS.keys())


def head(**train_cfg):
    kwargs = stock_config()
    if train_cfg:
        kwargs['train_cfg'] = train_cfg
    return QualitySSDLiteHead(**kwargs)


def test_it_has_the_parameters_and_the_detections_of_ssdlite():
    quality, plain = head().eval(), SSDLiteHead(**stock_config()).eval()
    randomise(plain)
    quality.load_state_dict(plain.state_dict())
    samples, x = random_batch(3, seed=0), features(3, 0)
    for ours, theirs in zip(quality.predict(x, samples), plain.predict(x, samples), strict=True):
        assert len(ours) > 0
        torch.testing.assert_close(ours.bboxes, theirs.bboxes)
        torch.testing.assert_close(ours.scores, theirs.scores)


def test_it_begins_with_background():
    torch.manual_seed(0)
    made = head()
    made.init_weights()
    cls_scores, _ = made(features(2, 0))
    background = (
        cls_scores[0].permute(0, 2, 3, 1).reshape(-1, made.cls_out_channels).softmax(-1)[:, -1]
    )
    assert background.mean().item() == pytest.approx(0.99, abs=0.005)


@each_assigner
def test_the_losses_against_the_loop(assigner):
    """Over a batch with an empty image and padding, of the matches that the head made."""
    made = head(assigner=assigner, gamma=1.5, box_weight=3.0, label_smoothing=0.2)
    randomise(made)
    samples = random_batch(3, seed=1, pad_shapes=[(128, 128), (100, 128), (128, 90)])
    cls_scores, bbox_preds = made(features(3, 1))
    seen = []
    targets_of = made._build_targets
    made._build_targets = lambda *args, **kw: seen.append(targets_of(*args, **kw)) or seen[-1]
    gts, metas, ignored = made._unpack(samples)
    got = made.loss_by_feat(cls_scores, bbox_preds, gts, metas, ignored)
    ((labels, targets, weights),) = seen
    logits, deltas = made.flatten_outputs(cls_scores, bbox_preds)
    priors, _ = made.batch_priors(cls_scores, metas)
    bboxes = decode(priors, deltas, **made.coding)
    cls, box, count = 0.0, 0.0, 0
    for i in range(3):
        positives = [p for p in range(len(labels[i])) if labels[i, p] < made.num_classes]
        count += max(1, len(positives))
        quality = torch.zeros(len(labels[i]))
        for p in positives:
            quality[p] = 0.8 * slow_iou(bboxes[i, p].tolist(), targets[i, p].tolist())
            box += 3.0 * generalized_box_iou_loss(bboxes[i, p], targets[i, p]).item()
        losses = quality_loss(logits[i][None], labels[i][None], quality[None], gamma=1.5)[0]
        cls += (losses * weights[i]).sum().item()
    assert (weights == 0).any()
    assert got['loss_cls'].item() == pytest.approx(cls / count, rel=1e-4)
    assert got['loss_bbox'].item() == pytest.approx(box / count, rel=1e-4)


def test_matches_of_iou_are_those_of_ssdlite():
    x, samples = features(4, 2), random_batch(4, seed=2)
    plain, quality = SSDLiteHead(**stock_config()), head()
    seen = []
    for made in (plain, quality):
        build = made._build_targets
        made._build_targets = lambda *a, f=build, **kw: seen.append(f(*a, **kw)) or seen[-1]
        made.loss(x, samples)
    (labels, _, weights), (others, _, other_weights) = seen
    assert torch.equal(labels, others)
    assert torch.equal(weights, other_weights)


def test_smooth_l1_is_that_of_ssdlite():
    x, samples = features(3, 2), random_batch(3, seed=2)
    kwargs = stock_config()
    kwargs['train_cfg'] = kwargs['train_cfg'] | dict(smoothl1_beta=0.3)
    plain = SSDLiteHead(**kwargs)
    randomise(plain)
    quality = head(**kwargs['train_cfg'], box_loss='smooth_l1', box_weight=3.0)
    quality.load_state_dict(plain.state_dict())
    expected = plain.loss(x, samples)['loss_bbox']
    assert expected > 0
    torch.testing.assert_close(quality.loss(x, samples)['loss_bbox'], 3 * expected)


@each_assigner
@pytest.mark.parametrize('crowds', [False, True])
def test_empty_images_push_every_score_down(crowds, assigner):
    made = head(assigner=assigner | dict(ignore_iof_thr=0.3 if crowds else -1))
    randomise(made)
    (sample,) = random_batch(3, seed=0)[2:]
    assert len(sample.gt_instances) == 0
    losses = made.loss(features(1, 0), [sample])
    assert losses['loss_bbox'] == 0
    assert losses['loss_cls'] > 0
    losses['loss_cls'].backward()
    assert all(conv[-1].weight.grad.isfinite().all() for conv in made.cls_convs)


def test_boxes_that_no_loss_can_take_are_left_out():
    made = head().eval()
    randomise(made)
    x = features(1, 0)
    (sample,) = random_batch(1, seed=0)
    clean = made.loss(x, [sample])
    bad = torch.tensor([[float('nan'), 0, 9, 9], [5, 5, 5, 9], [9, 9, 3, 3]])
    gt = sample.gt_instances
    sample.gt_instances = InstanceData(
        bboxes=torch.cat([gt.bboxes, bad]), labels=torch.cat([gt.labels, torch.zeros(3).long()])
    )
    for key, value in made.loss(x, [sample]).items():
        torch.testing.assert_close(value, clean[key])


@each_assigner
def test_it_learns_the_boxes_of_a_batch(assigner):
    torch.manual_seed(0)
    made = head(assigner=assigner)
    made.init_weights()
    samples, x = random_batch(2, seed=3, crowds=False), features(2, 3)
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.01)
    totals = []
    for _ in range(150):
        losses = made.loss(x, samples)
        totals.append(losses['loss_bbox'].item())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    found = made.predict(x, samples)
    for sample, result in zip(samples, found, strict=True):
        gt = sample.gt_instances
        kept = result[result.scores > 0.3]
        hits = [
            any(
                slow_iou(box, other) > 0.5 and label == other_label
                for other, other_label in zip(
                    kept.bboxes.tolist(), kept.labels.tolist(), strict=True
                )
            )
            for box, label in zip(gt.bboxes.tolist(), gt.labels.tolist(), strict=True)
        ]
        assert sum(hits) >= 0.5 * len(hits)
    assert totals[-1] < 0.5 * totals[0]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_the_loss_is_float32_whatever_the_features(dtype):
    made = head()
    cls_scores, bbox_preds = made(features(2, 0))
    samples = random_batch(2, seed=0)
    gts, metas, ignored = made._unpack(samples)
    losses = made.loss_by_feat(
        [level.to(dtype) for level in cls_scores],
        [level.to(dtype) for level in bbox_preds],
        gts,
        metas,
        ignored,
    )
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


def test_another_box_loss_is_refused():
    with pytest.raises(ValueError, match='one of giou, smooth_l1, got iou'):
        head(box_loss='iou')


def test_another_assigner_is_refused():
    with pytest.raises(ValueError, match=r'one of MaxIoUAssigner, .* got SimOTAAssigner'):
        head(assigner=dict(type='SimOTAAssigner'))
