"""Depthwise convolutions with a stride: the spread gradient against torch's own."""

import pytest
import torch
from helpers.networks import images
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from torch import nn
from torch.nn import functional as F

from mbv2_backbone.blocks import convolve
from mbv2_backbone.blocks.strided import is_left_to_onednn, spread_gradient

# Batch, channels, kernel, stride, padding, dilation, height and width.
CASES = [
    (2, 3, (3, 3), (2, 2), (1, 1), (1, 1), (9, 12)),
    (3, 4, (3, 3), (2, 2), (0, 0), (1, 1), (8, 5)),
    (1, 2, (5, 3), (3, 2), (4, 2), (2, 1), (17, 13)),
    (2, 2, (3, 3), (2, 1), (2, 0), (1, 2), (7, 6)),
    (2, 3, (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)),
    (2, 3, (1, 1), (2, 2), (0, 0), (1, 1), (4, 5)),
    (0, 3, (3, 3), (2, 2), (1, 1), (1, 1), (4, 5)),
]


@pytest.mark.parametrize('case', CASES)
def test_the_spread_gradient_is_the_convolutions(case):
    batch, channels, kernel, stride, padding, dilation, size = case
    x = images(batch, channels, *size).double().requires_grad_()
    weight = torch.randn(channels, 1, *kernel, dtype=torch.float64)
    out = F.conv2d(x, weight, None, stride, padding, dilation, channels)
    grad = torch.randn_like(out)
    found = spread_gradient(grad, x.shape, weight, stride, padding, dilation)
    torch.testing.assert_close(found, torch.autograd.grad(out, x, grad)[0])


def nodes(out):
    """Return the names of an output's node in the graph and of those that it calls."""
    found, todo = set(), [out.grad_fn]
    while todo:
        node = todo.pop()
        found.add(type(node).__name__)
        todo += [before for before, _ in node.next_functions if before]
    return found


def depthwise(stride=2, kind=nn.Conv2d, **kwargs):
    settings = dict(stride=stride, groups=6, bias=False, padding=1) | kwargs
    if kind is Conv2dAdaptivePadding:
        del settings['padding']
    return kind(6, 6, 3, **settings)


FAST = '_StridedDepthwiseBackward'


@pytest.mark.parametrize('kind', [nn.Conv2d, Conv2dAdaptivePadding])
def test_in_bfloat16_the_gradients_are_torchs_but_for_rounding(kind):
    torch.manual_seed(0)
    conv = depthwise(kind=kind)
    x = images(2, 6, 11, 8).requires_grad_()
    found = {}
    for name, call in (('ours', convolve), ('torch', lambda conv, x: conv(x))):
        with torch.autocast('cpu', torch.bfloat16):
            out = call(conv, x)
        assert out.dtype == torch.bfloat16
        assert (FAST in nodes(out)) == (name == 'ours' and is_left_to_onednn())
        grads = torch.autograd.grad(out.square().sum(), [x, conv.weight])
        assert [grad.dtype for grad in grads] == [torch.float32] * 2
        found[name] = [out, *grads]
    (out, grad_x, grad_weight), (expected, expected_x, expected_weight) = found.values()
    assert torch.equal(out, expected)
    assert torch.equal(grad_weight, expected_weight)
    torch.testing.assert_close(grad_x, expected_x, rtol=0.01, atol=0.01 * expected_x.abs().max())


@pytest.mark.parametrize('which', [0, 1])
def test_one_gradient_alone(which):
    conv = depthwise().bfloat16()
    x = images(2, 6, 6, 6).bfloat16().requires_grad_()
    wanted = [x, conv.weight][which]
    (found,) = torch.autograd.grad(convolve(conv, x).sum(), wanted)
    (expected,) = torch.autograd.grad(conv(x).sum(), wanted)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ('conv', 'dtype', 'is_ours'),
    [
        (depthwise(), torch.bfloat16, True),
        (depthwise(padding_mode='reflect'), torch.bfloat16, True),
        (depthwise(), torch.float32, False),
        (depthwise(stride=1), torch.bfloat16, False),
        (depthwise(groups=2), torch.bfloat16, False),
        (depthwise(bias=True), torch.bfloat16, False),
        (depthwise(padding=3), torch.bfloat16, False),
        (depthwise(padding='valid'), torch.bfloat16, False),
    ],
    ids=['usual', 'reflected', 'float32', 'stride 1', 'groups', 'bias', 'wide', 'named padding'],
)
def test_what_is_not_slow_is_left_to_torch(conv, dtype, is_ours):
    conv = conv.to(dtype)
    x = images(2, 6, 8, 8).to(dtype).requires_grad_()
    out = convolve(conv, x)
    assert (FAST in nodes(out)) == (is_ours and is_left_to_onednn())
    (found,) = torch.autograd.grad(out.sum(), x)
    (expected,) = torch.autograd.grad(conv(x).sum(), x)
    torch.testing.assert_close(found, expected)
    assert FAST not in nodes(convolve(conv, x.detach()))
