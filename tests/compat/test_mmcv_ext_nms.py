"""mmcv's NMS ops on the stand-in, against slow reference code."""

import math

import mbv2_backbone  # noqa: F401  (lets mmcv.ops be imported)

# isort: split
import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, nms_match, soft_nms


def random_boxes(count, size=20.0, dtype=torch.float32):
    corner = torch.rand(count, 2, dtype=dtype) * size
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, dtype=dtype) * size / 2], dim=1)


def iou(a, b, offset=0):
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    inter = max(width, 0) * max(height, 0)
    area_a, area_b = ((c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b))
    return inter / (area_a + area_b - inter)


def slow_nms(boxes, scores, threshold, offset=0):
    boxes, kept = boxes.double().tolist(), []
    for index in scores.argsort(descending=True).tolist():
        if all(iou(boxes[index], boxes[k], offset) <= threshold for k in kept):
            kept.append(index)
    return kept


def slow_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    """Take the best and move the first into its place; the last replaces a dropped box."""
    left = [[*pair] for pair in zip(scores.tolist(), range(len(scores)), strict=True)]
    boxes, kept = boxes.double().tolist(), []
    while left:
        best = max(range(len(left)), key=lambda i: left[i][0])
        left[0], left[best] = left[best], left[0]
        score, index = left.pop(0)
        kept.append((index, score))
        i = 0
        while i < len(left):
            overlap = iou(boxes[index], boxes[left[i][1]], offset)
            if method == 'gaussian':
                left[i][0] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                left[i][0] *= 1 - overlap if method == 'linear' else 0
            if left[i][0] < min_score:
                last = left.pop()
                left[i : i + 1] = [last] if i < len(left) else []
            else:
                i += 1
    return kept


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('count', [0, 1, 60])
def test_nms(count, offset):
    boxes, scores = random_boxes(count), torch.rand(count)
    dets, kept = nms(boxes, scores, 0.4, offset=offset)
    assert kept.tolist() == slow_nms(boxes, scores, 0.4, offset)
    torch.testing.assert_close(dets, torch.cat([boxes, scores[:, None]], 1)[kept])
    assert count < 60 or len(kept) < 60


def test_nms_keeps_an_overlap_equal_to_the_threshold():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6]])  # an IoU of 0.6, rounded up in float32
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.6)[1].tolist() == [0, 1]
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.59)[1].tolist() == [0]


def test_nms_score_threshold_and_max_num():
    boxes, scores = random_boxes(60), torch.rand(60)
    above = scores > 0.3
    expected = above.nonzero()[:, 0][slow_nms(boxes[above], scores[above], 0.4)][:5]
    kept = nms(boxes, scores, 0.4, score_threshold=0.3, max_num=5)[1]
    assert kept.tolist() == expected.tolist()


@pytest.mark.parametrize('op', [nms, soft_nms])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_numpy_in_numpy_out(op, dtype):
    boxes, scores = random_boxes(20), torch.rand(20)
    dets, kept = op(boxes.numpy().astype(dtype), scores.numpy().astype(dtype), 0.4)
    assert isinstance(dets, np.ndarray)
    assert isinstance(kept, np.ndarray)
    torch.testing.assert_close(torch.from_numpy(kept), op(boxes, scores, 0.4)[1])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_boxes(dtype):
    boxes, scores = random_boxes(20).to(dtype), torch.linspace(0, 1, 20).to(dtype)
    assert nms(boxes, scores, 0.4)[1].tolist() == slow_nms(boxes, scores, 0.4)
    dets, kept = soft_nms(boxes, scores)
    assert dets.dtype == dtype
    assert kept.tolist() == soft_nms(boxes.float(), scores.float())[1].tolist()


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('min_score', [1e-3, 0.2])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(method, min_score, offset):
    boxes, scores = random_boxes(40), torch.rand(40)
    args = (0.3, 0.5, min_score, method, offset)
    dets, kept = soft_nms(boxes, scores, *args)
    expected, expected_scores = zip(*slow_soft_nms(boxes, scores, *args), strict=True)
    assert kept.tolist() == list(expected)
    assert len(kept) < 40 or min_score < 0.2
    torch.testing.assert_close(dets[:, :4], boxes[kept])
    torch.testing.assert_close(dets[:, 4], torch.tensor(expected_scores))


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms_takes_equal_scores_in_the_order_of_mmcv(method):
    for _ in range(50):
        boxes = random_boxes(15, size=8, dtype=torch.float64).round()
        scores = torch.randint(5, (15,)).double() / 4
        args = (0.3, 0.5, 0.3, method, 1)
        dets, kept = soft_nms(boxes, scores, *args)
        expected, expected_scores = zip(*slow_soft_nms(boxes, scores, *args), strict=True)
        assert kept.tolist() == list(expected)
        torch.testing.assert_close(dets[:, 4], torch.tensor(expected_scores, dtype=torch.float64))


def test_soft_nms_keeps_the_best_even_below_min_score():
    dets, kept = soft_nms(random_boxes(3), torch.tensor([0.1, 0.2, 0.15]), min_score=0.5)
    assert kept.tolist() == [1]
    assert dets[0, 4] == torch.tensor(0.2)


def test_soft_nms_empty_and_degenerate():
    dets, kept = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    dets, kept = soft_nms(torch.zeros(3, 4), torch.rand(3), method='gaussian')
    assert len(kept) == 3
    assert dets.isfinite().all()


def test_nms_match():
    dets = torch.cat([random_boxes(30), torch.rand(30, 1)], dim=1)
    left, expected = dets[:, 4].argsort(descending=True).tolist(), []
    while left:
        boxes = dets.double().tolist()
        group = [i for i in left if i == left[0] or iou(boxes[left[0]], boxes[i]) >= 0.3]
        expected.append(group)
        left = [i for i in left if i not in group]
    assert [group.tolist() for group in nms_match(dets, 0.3)] == expected
    assert len(expected) < 30
    assert nms_match(dets[:0], 0.3) == []


@pytest.mark.parametrize('class_agnostic', [False, True])
@pytest.mark.parametrize('kind', ['nms', 'soft_nms'])
def test_batched_nms(kind, class_agnostic):
    boxes, scores, labels = random_boxes(60), torch.rand(60), torch.randint(3, (60,))
    groups = (
        [torch.arange(60)] if class_agnostic else [(labels == i).nonzero()[:, 0] for i in range(3)]
    )
    expected = []
    for group in groups:
        if kind == 'nms':
            kept = [
                (i, scores[group[i]].item()) for i in slow_nms(boxes[group], scores[group], 0.4)
            ]
        else:
            kept = slow_soft_nms(boxes[group], scores[group], 0.4, 0.5, 1e-3, 'linear', 0)
        expected += [(group[i].item(), score) for i, score in kept]
    expected.sort(key=lambda pair: -pair[1])
    cfg = dict(type=kind, iou_threshold=0.4)
    dets, kept = batched_nms(boxes, scores, labels, cfg, class_agnostic)
    assert kept.tolist() == [index for index, _ in expected]
    torch.testing.assert_close(dets[:, :4], boxes[kept])
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected]))


@pytest.mark.parametrize('kind', ['nms', 'soft_nms'])
def test_batched_nms_split_and_empty(kind):
    boxes, scores, labels = random_boxes(60), torch.rand(60), torch.randint(3, (60,))
    cfg = dict(type=kind, iou_threshold=0.4)
    whole = batched_nms(boxes, scores, labels, cfg)
    split = batched_nms(boxes, scores, labels, dict(cfg, split_thr=10, max_num=9))
    torch.testing.assert_close(split[0], whole[0][:9])
    assert split[1].tolist() == whole[1][:9].tolist()
    none = batched_nms(boxes[:0], scores[:0], labels[:0], cfg, class_agnostic=True)
    assert none[0].shape == (0, 5)
