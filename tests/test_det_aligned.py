"""Task-aligned matching and its losses against loops, mmdet and torchvision; the head."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import TaskAlignedAssigner
from mmengine.structures import InstanceData
from test_det_head import config as stock_config
from test_det_head import features, random_batch
from torchvision.ops import generalized_box_iou_loss
from util import randomise

from mbv2_backbone.det import AlignedSSDLiteHead, SSDLiteHead
from mbv2_backbone.det.aligned import generalised_iou, match_aligned, overlap_loss, quality_loss
from mbv2_backbone.det.targets import BACKGROUND, IGNORED, pad_boxes

SETTINGS = [(13, 1.0, 6.0), (3, 0.5, 2.0), (200, 1.0, 1.0)]


def boxes(*shape, size=40):
    corner = torch.rand(*shape, 2) * 60
    return torch.cat([corner, corner + 1 + torch.rand(*shape, 2) * size], -1)


def slow_iou(a, b):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return w * h / (sum(area) - w * h)


def slow_match(scores, bboxes, priors, gts, labels, *, topk, alpha, beta, excluded):
    """One image, by lists: the matched box of each prior and its quality."""
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
    matched = [
        IGNORED
        if excluded[p]
        else max(takers[p], key=lambda g: slow_iou(gts[g], bboxes[p]), default=BACKGROUND)
        for p in range(len(priors))
    ]
    quality = [0.0] * len(priors)
    for g, gt in enumerate(gts):
        own = [p for p in range(len(priors)) if matched[p] == g]
        most = max((alignment[g, p] for p in own), default=0)
        for p in own:
            best_iou = max(slow_iou(gt, bboxes[q]) for q in own)
            quality[p] = alignment[g, p] / max(most, 1e-30) * best_iou
    return matched, quality


@pytest.mark.parametrize('with_excluded', [False, True])
@pytest.mark.parametrize(
    ('topk', 'alpha', 'beta'), [(13, 1.0, 6.0), (3, 0.5, 2.0), (200, 1.0, 1.0)]
)
def test_matching_against_the_loop(topk, alpha, beta, with_excluded):
    priors = boxes(60, size=10)
    gts = [boxes(n) for n in (4, 0, 9)] + [boxes(5, size=1)]  # the last fall between the centres
    labels = [torch.randint(0, 3, (len(g),)) for g in gts]
    scores, bboxes = torch.rand(4, 60, 3), boxes(4, 60)
    excluded = torch.rand(4, 60) < 0.2 if with_excluded else None
    settings = dict(topk=topk, alpha=alpha, beta=beta)
    matched, quality = match_aligned(
        scores, bboxes, priors, *pad_boxes(gts, labels), excluded=excluded, **settings
    )
    for i in range(4):
        expected, expected_quality = slow_match(
            scores[i].tolist(),
            bboxes[i].tolist(),
            priors.tolist(),
            gts[i].tolist(),
            labels[i].tolist(),
            excluded=excluded[i].tolist() if with_excluded else [False] * 60,
            **settings,
        )
        assert matched[i].tolist() == expected
        assert quality[i].tolist() == pytest.approx(expected_quality, rel=1e-3, abs=1e-6)
    assert (matched >= 0).any()


def test_matching_equals_mmdets_where_all_centres_lie_inside():
    # mmdet counts the priors outside a box among its topk and drops them then; here none is.
    priors = boxes(60, size=10)
    gts = torch.tensor([[-5.0, -5, 200, 200], [-9, -9, 90, 120], [-1, -1, 120, 80]])
    labels = torch.tensor([0, 2, 1])
    scores, bboxes = torch.rand(60, 3), boxes(60)
    matched, _ = match_aligned(scores[None], bboxes[None], priors, *pad_boxes([gts], [labels]))
    theirs = TaskAlignedAssigner(topk=13).assign(
        InstanceData(priors=priors, bboxes=bboxes, scores=scores),
        InstanceData(bboxes=gts, labels=labels),
        alpha=1,
        beta=6,
    )
    assert matched[0].tolist() == (theirs.gt_inds - 1).tolist()


def test_the_best_prior_of_a_box_learns_its_overlap():
    gt = torch.tensor([[10.0, 10, 30, 30]])
    priors = torch.tensor([[12.0, 12, 28, 28], [11, 11, 29, 29], [50, 50, 60, 60]])
    bboxes = torch.tensor([[10.0, 10, 30, 30], [10, 10, 30, 20], [10, 10, 30, 30]])
    scores = torch.tensor([[0.5], [0.5], [1.0]])
    matched, quality = match_aligned(
        scores[None], bboxes[None], priors, *pad_boxes([gt], [torch.tensor([0])]), beta=1.0
    )
    assert matched.tolist() == [[0, 0, BACKGROUND]]
    assert quality[0].tolist() == pytest.approx([1.0, 0.5, 0.0])


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


def test_generalised_iou_equals_torchvisions_and_stays_finite():
    first, second = boxes(50), boxes(50)
    first.requires_grad_()
    ours = 1 - generalised_iou(first, second)
    theirs = generalized_box_iou_loss(first, second)
    torch.testing.assert_close(ours, theirs)
    empty = torch.zeros(1, 4, requires_grad=True)
    loss = overlap_loss(empty[None], torch.zeros(1, 1, 4), torch.zeros(1, 1))
    loss.backward()
    assert loss == 0
    assert empty.grad.isfinite().all()


def head(**train_cfg):
    kwargs = stock_config()
    kwargs['train_cfg'] = dict(assigner=dict(type='TaskAlignedAssigner', topk=4)) | train_cfg
    return AlignedSSDLiteHead(**kwargs)


def test_it_has_the_parameters_and_the_detections_of_ssdlite():
    aligned, plain = head().eval(), SSDLiteHead(**stock_config()).eval()
    randomise(plain)
    aligned.load_state_dict(plain.state_dict())
    samples, x = random_batch(3, seed=0), features(3, 0)
    for ours, theirs in zip(aligned.predict(x, samples), plain.predict(x, samples), strict=True):
        assert len(ours) > 0
        torch.testing.assert_close(ours.bboxes, theirs.bboxes)
        torch.testing.assert_close(ours.scores, theirs.scores)


def test_it_begins_with_background():
    torch.manual_seed(0)
    aligned = head()
    aligned.init_weights()
    cls_scores, _ = aligned(features(2, 0))
    background = (
        cls_scores[0].permute(0, 2, 3, 1).reshape(-1, aligned.cls_out_channels).softmax(-1)[:, -1]
    )
    assert background.mean().item() == pytest.approx(0.99, abs=0.005)


def test_the_losses_are_those_of_the_parts():
    """Of a batch with an empty image, crowds and padding, by the functions on each image."""
    aligned = head(ignore_iof_thr=0.3, gamma=1.5, box_weight=3.0)
    randomise(aligned)
    x = features(3, 1)
    samples = random_batch(3, seed=1, pad_shapes=[(128, 128), (100, 128), (128, 90)])
    together = aligned.loss(x, samples)
    sums, norm = dict(loss_cls=0.0, loss_bbox=0.0), 0.0
    for i, sample in enumerate(samples):
        one = tuple(level[i : i + 1] for level in x)
        aligned.eval()  # running statistics: an image's features do not depend on the others
        losses, factor = aligned.loss(one, [sample]), quality_sum(aligned, one, sample)
        for key, value in losses.items():
            sums[key] += value.item() * max(factor, 1)
        norm += factor
    together = aligned.loss(x, samples)
    for key, value in together.items():
        assert value.item() == pytest.approx(sums[key] / max(norm, 1), rel=1e-4)


def quality_sum(aligned, x, sample):
    seen = []
    original = aligned._targets

    def spy(*args):
        result = original(*args)
        seen.append(result[1].sum().item())
        return result

    aligned._targets = spy
    aligned.loss(x, [sample])
    aligned._targets = original
    return seen[0]


@pytest.mark.parametrize('crowds', [False, True])
def test_empty_images_push_every_score_down(crowds):
    aligned = head(ignore_iof_thr=0.3 if crowds else -1)
    randomise(aligned)
    (sample,) = random_batch(3, seed=0)[2:]
    assert len(sample.gt_instances) == 0
    losses = aligned.loss(features(1, 0), [sample])
    assert losses['loss_bbox'] == 0
    assert losses['loss_cls'] > 0
    losses['loss_cls'].backward()
    assert all(conv[-1].weight.grad.isfinite().all() for conv in aligned.cls_convs)


def test_boxes_that_no_loss_can_take_are_left_out():
    aligned = head().eval()
    randomise(aligned)
    x = features(1, 0)
    (sample,) = random_batch(1, seed=0)
    clean = aligned.loss(x, [sample])
    bad = torch.tensor([[float('nan'), 0, 9, 9], [5, 5, 5, 9], [9, 9, 3, 3]])
    gt = sample.gt_instances
    sample.gt_instances = InstanceData(
        bboxes=torch.cat([gt.bboxes, bad]), labels=torch.cat([gt.labels, torch.zeros(3).long()])
    )
    for key, value in aligned.loss(x, [sample]).items():
        torch.testing.assert_close(value, clean[key])


def test_it_learns_the_boxes_of_a_batch():
    torch.manual_seed(0)
    aligned = head()
    aligned.init_weights()
    samples, x = random_batch(2, seed=3, crowds=False), features(2, 3)
    optimizer = torch.optim.AdamW(aligned.parameters(), lr=0.01)
    totals = []
    for _ in range(150):
        losses = aligned.loss(x, samples)
        totals.append(losses['loss_bbox'].item())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    found = aligned.predict(x, samples)
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
    aligned = head()
    cls_scores, bbox_preds = aligned(features(2, 0))
    samples = random_batch(2, seed=0)
    gts, metas, ignored = aligned._unpack(samples)
    losses = aligned.loss_by_feat(
        [level.to(dtype) for level in cls_scores],
        [level.to(dtype) for level in bbox_preds],
        gts,
        metas,
        ignored,
    )
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


def test_another_assigner_is_refused():
    with pytest.raises(ValueError, match='TaskAlignedAssigner, got MaxIoUAssigner'):
        head(assigner=dict(type='MaxIoUAssigner'))
