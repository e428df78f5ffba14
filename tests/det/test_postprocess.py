"""Batched postprocessing against one image at a time."""

import pytest
import torch
from helpers.head_outputs import NUM_CLASSES, TEST_CFG, build_head, outputs
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mbv2_backbone.det import postprocess
from mbv2_backbone.det.postprocess import select_candidates, suppress
from mbv2_backbone.det.targets import decode


@pytest.fixture(scope='module')
def head():
    return build_head()


@pytest.fixture(scope='module')
def sigmoid_head():
    return build_head(use_sigmoid=True)


def one_by_one(head, cls_scores, bbox_preds, metas, cfg, *, rescale, with_nms):
    """Return the detections of one image and level at a time, with mmdet's NMS."""
    priors, level_of = head.batch_priors(cls_scores, metas)
    logits, deltas = head.flatten_outputs(cls_scores, bbox_preds)
    results = []
    for i, meta in enumerate(metas):
        scores = logits[i].softmax(-1)[:, :-1]
        pairs = []
        for level in level_of.unique().tolist():
            rows = [
                (-float(scores[p, c]), int(p), c)
                for p in (level_of == level).nonzero().flatten()
                for c in range(NUM_CLASSES)
                if scores[p, c] > cfg.score_thr
            ]
            pairs += sorted(rows)[: cfg.nms_pre if cfg.nms_pre > 0 else None]
        pairs.sort()
        prior = torch.tensor([p for _, p, _ in pairs], dtype=torch.long)
        label = torch.tensor([c for _, _, c in pairs], dtype=torch.long)
        height, width = meta['img_shape']
        boxes = decode(priors[prior], deltas[i, prior], **head.coding).clamp(min=0)
        boxes = boxes.minimum(torch.tensor([width, height, width, height]))
        found = InstanceData(bboxes=boxes, scores=scores[prior, label], labels=label)
        results.append(head._bbox_post_process(found, cfg, rescale, with_nms, meta))
    return results


@pytest.mark.parametrize(
    'change',
    [
        {},
        dict(nms_pre=7),
        dict(nms_pre=-1, score_thr=0.0),
        dict(score_thr=-1.0, max_per_img=1000),
        dict(score_thr=0.3),
        dict(score_thr=0.7),
        dict(score_thr=1.0),
        dict(min_bbox_size=25),
        dict(min_bbox_size=-1, max_per_img=3),
        dict(nms=dict(type='nms', iou_threshold=0.45, class_agnostic=True)),
        dict(nms=dict(type='soft_nms', iou_threshold=0.45)),
        dict(nms=None),
    ],
    ids=str,
)
@pytest.mark.parametrize('rescale', [False, True])
def test_a_batch_gives_the_same_as_its_images_one_by_one(head, change, rescale):
    cfg = ConfigDict(TEST_CFG | change)
    for num_images, with_nms, seed in [(1, True, 0), (4, True, 1), (5, True, 2), (4, False, 3)]:
        outs = outputs(head, num_images, seed)
        found = head.predict_by_feat(
            *outs[:2], batch_img_metas=outs[2], cfg=cfg, rescale=rescale, with_nms=with_nms
        )
        expected = one_by_one(head, *outs, cfg, rescale=rescale, with_nms=with_nms)
        assert len(found) == num_images
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a.scores, b.scores)
            assert torch.equal(a.labels, b.labels)
            assert torch.equal(a.bboxes, b.bboxes)
            assert a.labels.dtype == torch.long
    # The random data must contain what the test is about.
    if not change:
        assert [len(f) for f in found][1] == 0
        assert sum(len(f.scores) - len(f.scores.unique()) for f in found) > 20


@pytest.mark.parametrize('name', ['softmax', 'sigmoid'])
def test_scores_are_computed_for_few_priors_only(head, sigmoid_head, monkeypatch, name):
    head = sigmoid_head if name == 'sigmoid' else head
    cls_scores, bbox_preds, metas = outputs(head, 2, 0, background=9.0)
    logits, _ = head.flatten_outputs(cls_scores, bbox_preds)
    _, level_of = head.batch_priors(cls_scores, metas)
    rows = []
    function = getattr(torch.Tensor, name)
    monkeypatch.setattr(
        torch.Tensor, name, lambda x, *dim: rows.append(len(x)) or function(x, *dim)
    )
    found = select_candidates(
        logits, level_of, score_thr=0.02, max_per_level=-1, use_sigmoid=head.use_sigmoid
    )
    assert 0 < len(found.score) <= rows[0] * NUM_CLASSES
    assert rows[0] < logits[..., 0].numel() / 4


def naive_nms(boxes, scores, group, threshold):
    """Return the kept indices; exact for coordinates of few bits."""
    kept = torch.zeros(len(boxes), dtype=torch.bool)
    boxes = boxes.double().tolist()
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        overlaps = []
        for j in kept.nonzero().flatten().tolist():
            (ax, ay, aX, aY), (bx, by, bX, bY) = boxes[i], boxes[j]
            inter = max(0, min(aX, bX) - max(ax, bx)) * max(0, min(aY, bY) - max(ay, by))
            union = (aX - ax) * (aY - ay) + (bX - bx) * (bY - by) - inter
            overlaps.append(group[i] == group[j] and inter / union > threshold)
        kept[i] = not any(overlaps)
    return kept


@pytest.mark.parametrize('limit', [1, 40, 10_000])
@pytest.mark.parametrize('threshold', [0.25, 0.5, 0.6])
def test_nms_is_exact_in_the_last_of_many_groups(monkeypatch, limit, threshold):
    """Boxes on a grid: many have exactly the threshold as IoU, and float32 offsets would err."""
    monkeypatch.setattr(postprocess, '_MAX_AT_ONCE', limit)
    rng = torch.Generator().manual_seed(limit)
    corner = torch.randint(0, 6, (150, 2), generator=rng) + 1000 + 1 / 512
    side = torch.randint(1, 6, (150, 2), generator=rng)
    boxes = torch.cat([corner, corner + side], 1).float()
    scores = torch.randint(0, 9, (150,), generator=rng) / 8
    group = torch.randint(0, 5, (150,), generator=rng) * 5000
    kept = suppress(boxes, scores, group, iou_threshold=threshold)
    assert torch.equal(kept, naive_nms(boxes, scores.tolist(), group.tolist(), threshold))
    assert 20 < kept.sum() < 140


def test_nms_of_nothing_is_nothing():
    empty = torch.zeros(0)
    kept = suppress(empty.reshape(0, 4), empty, empty.long(), iou_threshold=0.5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.bool


@pytest.mark.parametrize('use_sigmoid', [False, True])
@pytest.mark.parametrize('max_per_level', [-1, 1, 5, 1000])
def test_selection_against_the_loop(max_per_level, use_sigmoid):
    logits, level_of = torch.randn(2, 20, 3 if use_sigmoid else 4), torch.arange(20) // 8
    scores = logits.sigmoid() if use_sigmoid else logits.softmax(-1)
    got = select_candidates(
        logits, level_of, score_thr=0.3, max_per_level=max_per_level, use_sigmoid=use_sigmoid
    )
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


@pytest.mark.parametrize('use_sigmoid', [False, True])
def test_selection_of_nothing(use_sigmoid):
    got = select_candidates(
        torch.rand(2, 4, 3),
        torch.zeros(4).long(),
        score_thr=1.0,
        max_per_level=9,
        use_sigmoid=use_sigmoid,
    )
    assert [len(t) for t in got] == [0, 0, 0, 0]
