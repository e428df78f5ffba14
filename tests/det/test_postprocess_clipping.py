"""Softmax or sigmoid, and clipping before or after NMS, against a loop over the classes."""

import pytest
import torch
from helpers.head_outputs import NUM_CLASSES, TEST_CFG, build_head, outputs
from mmengine.config import ConfigDict
from torchvision.ops import nms

from mbv2_backbone.det.targets import decode


@pytest.fixture(scope='module')
def head():
    return build_head()


@pytest.fixture(scope='module')
def sigmoid_head():
    return build_head(use_sigmoid=True)


def clipped(box, size_hw):
    (left, top, right, bottom), (height, width) = box, size_hw
    return [
        min(max(0, left), width), min(max(0, top), height),
        min(max(0, right), width), min(max(0, bottom), height),
    ]  # fmt: skip


def class_by_class(head, cls_scores, bbox_preds, metas, cfg, *, rescale):
    """Return for each image rows of score, label and box, and how many boxes lost their area."""
    priors, level_of = head.batch_priors(cls_scores, metas)
    logits, deltas = head.flatten_outputs(cls_scores, bbox_preds)
    results, num_lost = [], 0
    for i, meta in enumerate(metas):
        scores = logits[i].sigmoid() if head.use_sigmoid else logits[i].softmax(-1)
        rows = [
            (-score, p, c)
            for p, of_prior in enumerate(scores.tolist())
            for c, score in enumerate(of_prior[:NUM_CLASSES])
            if score > cfg.score_thr
        ]
        if cfg.nms_pre > 0:
            levels = [sorted(r for r in rows if level_of[r[1]] == n) for n in range(3)]
            rows = [row for level in levels for row in level[: cfg.nms_pre]]
        factors = [1 / factor for factor in meta['scale_factor']] if rescale else [1, 1]
        size = [side * f for side, f in zip(meta['img_shape'], factors[::-1], strict=True)]
        boxes = decode(priors, deltas[i], **head.coding) * torch.tensor(factors * 2)
        found = []
        for c in range(NUM_CLASSES):
            own = sorted(row for row in rows if row[2] == c)
            own = [(*row, boxes[row[1]].tolist()) for row in own]
            if not cfg.get('clip_after_nms'):
                own = [(*row[:3], clipped(row[3], size)) for row in own]
            if cfg.min_bbox_size >= 0:
                least = cfg.min_bbox_size
                own = [r for r in own if min(r[3][2] - r[3][0], r[3][3] - r[3][1]) > least]
            box = torch.tensor([row[3] for row in own]).reshape(-1, 4).double()
            score = torch.tensor([-row[0] for row in own]).double()
            kept = [own[j] for j in nms(box, score, cfg.nms.iou_threshold).tolist()]
            if cfg.get('clip_after_nms'):
                kept = [(*row[:3], clipped(row[3], size)) for row in kept]
                with_area = [r for r in kept if r[3][0] < r[3][2] and r[3][1] < r[3][3]]
                num_lost += len(kept) - len(with_area)
                kept = with_area
            found += kept
        found.sort()
        results.append(found[: cfg.max_per_img] if cfg.max_per_img > 0 else found)
    return results, num_lost


@pytest.mark.parametrize('rescale', [False, True])
@pytest.mark.parametrize('clips_after', [False, True])
@pytest.mark.parametrize(
    'change',
    [
        {},
        dict(nms_pre=7, max_per_img=5),
        dict(nms_pre=-1, score_thr=1e-8, max_per_img=-1),
        dict(score_thr=-1.0, min_bbox_size=-1),
        dict(score_thr=0.7),
        dict(score_thr=1.0),
        dict(min_bbox_size=30),
    ],
    ids=str,
)
@pytest.mark.parametrize('scores', ['softmax', 'sigmoid'])
def test_a_batch_gives_the_same_as_a_loop_over_its_classes(
    head, sigmoid_head, scores, change, clips_after, rescale
):
    head = sigmoid_head if scores == 'sigmoid' else head
    cfg = ConfigDict(TEST_CFG | change | dict(clip_after_nms=clips_after))
    for num_images, seed in [(1, 0), (4, 1)]:
        cls_scores, bbox_preds, metas = outputs(head, num_images, seed)
        bbox_preds = [8 * preds for preds in bbox_preds]  # far from the priors, some outside
        found = head.predict_by_feat(
            cls_scores, bbox_preds, batch_img_metas=metas, cfg=cfg, rescale=rescale
        )
        expected, num_lost = class_by_class(
            head, cls_scores, bbox_preds, metas, cfg, rescale=rescale
        )
        assert len(found) == num_images
        for a, rows in zip(found, expected, strict=True):
            assert a.labels.tolist() == [row[2] for row in rows]
            torch.testing.assert_close(a.scores, torch.tensor([-row[0] for row in rows]))
            boxes = torch.tensor([row[3] for row in rows]).reshape(-1, 4)
            torch.testing.assert_close(a.bboxes, boxes, rtol=1e-5, atol=1e-3)
        if not change:
            assert (num_lost > 5) == clips_after
            assert min(len(f) for f in found[::2]) >= 10
    assert change or [len(f) for f in found][1] == 0


@pytest.mark.parametrize(
    'options',
    [
        dict(cfg=dict(nms=dict(type='soft_nms', iou_threshold=0.45))),
        dict(cfg=dict(nms=None)),
        dict(with_nms=False),
    ],
    ids=str,
)
def test_clipping_after_another_nms_or_none_is_refused(head, options):
    cfg = ConfigDict(TEST_CFG | dict(clip_after_nms=True) | options.get('cfg', {}))
    cls_scores, bbox_preds, metas = outputs(head, 1, 0)
    with pytest.raises(ValueError, match='clip_after_nms needs'):
        head.predict_by_feat(
            cls_scores, bbox_preds, batch_img_metas=metas, cfg=cfg,
            with_nms=options.get('with_nms', True),
        )  # fmt: skip
