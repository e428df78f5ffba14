"""mmcv's RoI and focal loss ops on the stand-in, against slow reference code."""

import itertools
import math

import mbv2_backbone  # noqa: F401  (lets mmcv.ops be imported)

# isort: split
import mmcv._ext
import mmcv.ops
import pytest
import torch
from mmcv.ops import RoIAlign, RoIPool, sigmoid_focal_loss


def bilinear(plane, y, x):
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return plane.new_zeros(())
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = plane[top, left] * (left + 1 - x) + plane[top, right] * (x - left)
    lower = plane[bottom, left] * (left + 1 - x) + plane[bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def slow_roi_align(x, rois, size, scale, ratio, mode, aligned):
    bins = []
    for batch, *corners in rois.tolist():
        x1, y1, x2, y2 = (c * scale - (0.5 if aligned else 0) for c in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        rows = ratio or math.ceil(height / size[0])
        cols = ratio or math.ceil(width / size[1])
        for plane, i, j in itertools.product(x[int(batch)], range(size[0]), range(size[1])):
            samples = [
                bilinear(
                    plane,
                    y1 + (i + (r + 0.5) / rows) * height / size[0],
                    x1 + (j + (c + 0.5) / cols) * width / size[1],
                )
                for r in range(rows)
                for c in range(cols)
            ]
            values = torch.stack(samples or [x.new_zeros(())])
            bins.append(values.mean() if mode == 'avg' else values.max())
    return torch.stack(bins).view(len(rois), x.shape[1], *size)


def assert_same_gradient(fast, slow, x):
    """Compare outputs, and the gradients of a random projection of them."""
    results = []
    for function in (fast, slow):
        leaf = x.clone().requires_grad_()
        out = function(leaf)
        generator = torch.Generator().manual_seed(1)
        weight = torch.rand(out.shape, generator=generator, dtype=out.dtype)
        results.append((out.detach(), torch.autograd.grad((out * weight).sum(), leaf)[0]))
    torch.testing.assert_close(*(out for out, _ in results))
    torch.testing.assert_close(*(grad for _, grad in results))
    assert results[0][1].abs().sum() > 0


ROIS = torch.tensor(
    [
        [0, 2.3, 1.1, 13.9, 17.2],
        [1, 6.2, 5.1, 8.9, 7.7],
        [1, -5.1, -7.3, 12.4, 9.6],  # partly outside
        [0, 10.3, 8.8, 40.2, 30.1],
        [0, 4.6, 4.6, 4.6, 4.6],  # empty
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align(mode, ratio, aligned):
    x = torch.randn(2, 2, 7, 9, dtype=torch.float64)
    layer = RoIAlign((3, 2), 0.5, ratio, mode, aligned)
    assert_same_gradient(
        lambda x: layer(x, ROIS),
        lambda x: slow_roi_align(x, ROIS, (3, 2), 0.5, ratio, mode, aligned),
        x,
    )


def slow_roi_pool(x, rois, size, scale):
    bins = []
    for batch, x1, y1, x2, y2 in rois.tolist():
        x1, y1, width, height = x1 * scale, y1 * scale, (x2 + 1 - x1) * scale, (y2 + 1 - y1) * scale
        for plane, i, j in itertools.product(x[int(batch)], range(size[0]), range(size[1])):
            top, left = y1 + i * height / size[0], x1 + j * width / size[1]
            bottom, right = y1 + (i + 1) * height / size[0], x1 + (j + 1) * width / size[1]
            cells = plane[
                max(math.floor(top), 0) : max(math.ceil(bottom), 0),
                max(math.floor(left), 0) : max(math.ceil(right), 0),
            ]
            valid = width > 0 and height > 0 and cells.numel()
            bins.append(cells.max() if valid else x.new_zeros(()))
    return torch.stack(bins).view(len(rois), x.shape[1], *size)


@pytest.mark.parametrize('chunk', [1, 1 << 24])
def test_roi_pool(chunk, monkeypatch):
    monkeypatch.setattr(mmcv._ext, '_ROI_POOL_CHUNK', chunk)
    x = torch.randn(2, 2, 7, 9, dtype=torch.float64)
    inverted = torch.tensor([[1, 8.0, 2.0, 3.0, 9.0]], dtype=torch.float64)
    rois = torch.cat([ROIS, inverted])
    layer = RoIPool((3, 2), 0.5)
    assert_same_gradient(lambda x: layer(x, rois), lambda x: slow_roi_pool(x, rois, (3, 2), 0.5), x)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('layer', [RoIAlign(2), RoIAlign(2, pool_mode='max'), RoIPool(2)])
def test_roi_layers_in_half_precision(layer, dtype):
    x = torch.randn(2, 2, 7, 9).to(dtype)
    rois = ROIS.to(dtype)
    half = x.clone().requires_grad_()
    full = x.float().requires_grad_()
    out, expected = layer(half, rois), layer(full, rois.float())
    out.sum().backward()
    expected.sum().backward()
    assert out.dtype == half.grad.dtype == dtype
    torch.testing.assert_close(out.float(), expected, atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(half.grad.float(), full.grad, atol=5e-2, rtol=2e-2)


@pytest.mark.parametrize('layer', [RoIAlign(2), RoIAlign(2, pool_mode='max'), RoIPool(2)])
def test_roi_layers_without_rois(layer):
    x = torch.randn(2, 3, 7, 9, requires_grad=True)
    out = layer(x, torch.zeros(0, 5))
    out.sum().backward()
    assert out.shape == (0, 3, 2, 2)
    assert not x.grad.any()


def slow_focal_loss(logits, targets, gamma, alpha, weight):
    rows = []
    for row, target in zip(logits, targets.tolist(), strict=True):
        factor = 1 if weight is None or target == len(row) else weight[target]
        prob = row.sigmoid()
        loss = -(1 - alpha) * prob**gamma * (1 - prob).log()
        positive = -alpha * (1 - prob) ** gamma * prob.log()
        rows.append(torch.where(torch.arange(len(row)) == target, positive, loss) * factor)
    return torch.stack(rows)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (0.0, 0.5), (0.5, 0.9)])
def test_sigmoid_focal_loss(gamma, alpha, weighted):
    logits = torch.randn(8, 3, dtype=torch.float64) * 3
    targets = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])  # 3 is background
    weight = torch.rand(3, dtype=torch.float64) if weighted else None
    for reduction, reduce in (
        ('none', lambda loss: loss),
        ('sum', torch.sum),
        ('mean', lambda loss: loss.sum() / len(loss)),
    ):
        assert_same_gradient(
            lambda x: sigmoid_focal_loss(x, targets, gamma, alpha, weight, reduction),  # noqa: B023
            lambda x: reduce(slow_focal_loss(x, targets, gamma, alpha, weight)),  # noqa: B023
            logits,
        )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_sigmoid_focal_loss_in_the_tails(dtype):
    logits = torch.tensor([[-200.0, 200.0], [200.0, -200.0]], dtype=dtype, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0, 0]), 2.0, 0.25, None, 'none')
    loss.sum().backward()
    torch.testing.assert_close(loss.detach().float(), torch.tensor([[50.0, 150.0], [0.0, 0.0]]))
    expected = torch.tensor([[-0.25, 0.75], [0.0, 0.0]])
    torch.testing.assert_close(logits.grad.float(), expected)


def test_sigmoid_focal_loss_without_rows():
    logits = torch.zeros(0, 3, requires_grad=True)
    sigmoid_focal_loss(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum').backward()
    assert logits.grad.shape == (0, 3)


@pytest.mark.parametrize(
    ('op', 'call'),
    [
        (
            'deform_conv_forward',
            lambda: mmcv.ops.DeformConv2d(1, 1, 3)(
                torch.zeros(1, 1, 5, 5), torch.zeros(1, 18, 3, 3)
            ),
        ),
        ('nms_rotated', lambda: mmcv.ops.nms_rotated(torch.rand(2, 5), torch.rand(2), 0.5)),
        (
            'softmax_focal_loss_forward',
            lambda: mmcv.ops.softmax_focal_loss(torch.rand(2, 3), torch.zeros(2, dtype=torch.long)),
        ),
        (
            'box_iou_rotated',
            lambda: mmcv.ops.box_iou_rotated(torch.rand(2, 5), torch.rand(2, 5)),
        ),
    ],
)
def test_other_ops_are_refused_by_name(op, call):
    with pytest.raises(RuntimeError, match=f"'{op}'.*pip install"):
        call()


def test_mmcv_reports_that_nothing_was_compiled():
    assert 'stand-in' in mmcv.ops.get_compiler_version()
    assert 'stand-in' in mmcv.ops.get_compiling_cuda_version()
    assert not hasattr(mmcv._ext, '__wrapped__')
