"""The extra maps of SSDLite against mmdet's SSDNeck and TensorFlow's padding rule."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.networks import images, randomise
from mmdet.models.necks import SSDNeck
from mmdet.registry import MODELS

from mbv2_backbone.det import SSDLiteNeck

IN_CHANNELS, OUT_CHANNELS = (8, 12), (8, 12, 16, 8, 6)


def maps(num_images, size, seed=1):
    """Return the maps of a backbone; the last has the size."""
    return tuple(
        images(num_images, channels, side, side, seed=seed)
        for channels, side in zip(IN_CHANNELS, (2 * size, size), strict=True)
    )


def neck(**kwargs):
    made = SSDLiteNeck(in_channels=IN_CHANNELS, out_channels=OUT_CHANNELS, **kwargs)
    return randomise(made).eval()


@pytest.mark.parametrize(
    ('mode', 'num_images'), [('train', 2), ('train', 3), ('eval', 0), ('eval', 1), ('eval', 3)]
)
def test_it_is_mmdets_neck_with_symmetric_padding(mode, num_images):
    theirs = SSDNeck(
        in_channels=IN_CHANNELS,
        out_channels=OUT_CHANNELS,
        level_strides=(2, 2, 2),
        level_paddings=(1, 1, 1),
        l2_norm_scale=None,
        use_depthwise=True,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='ReLU6'),
    )
    randomise(theirs)
    ours = neck()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    getattr(ours, mode)(), getattr(theirs, mode)()
    for size in (10, 9):
        x = maps(num_images, size)
        outs, expected = ours(x), theirs(x)
        assert len(outs) == len(OUT_CHANNELS)
        for out, want in zip(outs, expected, strict=True):
            torch.testing.assert_close(out, want)
    for (name, value), other in zip(
        ours.state_dict().items(), theirs.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name


def norm_and_activate(x, conv):
    bn = conv.bn
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    x = (x - bn.running_mean[:, None, None]) * scale[:, None, None]
    return (x + bn.bias[:, None, None]).clamp(0, 6)


def slow_same_depthwise(x, weight):
    """Convolve 3x3 with stride 2 one output at a time, padded as TensorFlow's SAME."""
    num, channels, height, width = x.shape
    sizes, before = [], []
    for side in (height, width):
        out = math.ceil(side / 2)
        total = max((out - 1) * 2 + 3 - side, 0)
        sizes.append(out)
        before.append(total // 2)
    result = torch.zeros(num, channels, *sizes)
    for row in range(sizes[0]):
        for column in range(sizes[1]):
            for dy in range(3):
                for dx in range(3):
                    y, z = 2 * row - before[0] + dy, 2 * column - before[1] + dx
                    if 0 <= y < height and 0 <= z < width:
                        result[:, :, row, column] += x[:, :, y, z] * weight[:, 0, dy, dx]
    return result


@pytest.mark.parametrize(
    ('size', 'sizes'), [((10, 10), [5, 3, 2]), ((5, 5), [3, 2, 1]), ((10, 5), None)]
)
def test_same_padding_is_tensorflows(size, sizes):
    made = neck(padding='same')
    x = (images(2, 8, 20, 20), images(2, 12, *size, seed=2))
    with torch.no_grad():
        outs = made(x)
        expected = x[1]
        for (reduce, second), out in zip(made.extra_layers, outs[2:], strict=True):
            reduced = norm_and_activate(F.conv2d(expected, reduce.conv.weight), reduce)
            depthwise, pointwise = second.depthwise_conv, second.pointwise_conv
            filtered = slow_same_depthwise(reduced, depthwise.conv.weight)
            filtered = norm_and_activate(filtered, depthwise)
            expected = norm_and_activate(F.conv2d(filtered, pointwise.conv.weight), pointwise)
            torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(out, given) for out, given in zip(outs[:2], x, strict=True))
    assert sizes is None or [out.shape[-1] for out in outs[2:]] == sizes


def test_only_an_even_side_is_padded_in_another_way():
    symmetric, same = neck(), neck(padding='same')
    same.load_state_dict(symmetric.state_dict())
    outs = symmetric(maps(2, 9)), same(maps(2, 9))  # 9, 5, 3, 2
    for a, b in zip(*outs, strict=True):
        torch.testing.assert_close(a, b)
    outs = symmetric(maps(2, 10)), same(maps(2, 10))
    assert [a.shape for a in outs[0]] == [b.shape for b in outs[1]]
    assert not torch.allclose(outs[0][2], outs[1][2], atol=1e-2)


def test_the_bare_defaults_are_the_papers_and_are_initialised():
    made = MODELS.build(dict(type='SSDLiteNeck'))
    made.init_weights()
    assert made.padding == 'symmetric'
    weights = [p for p in made.parameters() if p.dim() == 4 and p.shape[1] > 1]
    assert len(weights) == 2 * 4  # a reducing and a pointwise convolution of each extra map
    assert torch.cat([w.flatten() for w in weights]).std().item() == pytest.approx(0.03, rel=0.15)
    shapes = [out.shape[1:] for out in made(tuple(images(2, c, 10, 10) for c in (576, 1280)))]
    assert [tuple(shape) for shape in shapes[2:]] == [
        (512, 5, 5), (256, 3, 3), (256, 2, 2), (128, 1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('kwargs', 'said'),
    [
        (dict(padding='valid'), r"\('symmetric', 'same'\)"),
        (dict(out_channels=(576, 1280)), 'of the extra maps'),
        (dict(out_channels=(576, 64, 32)), 'must begin with in_channels'),
        (dict(level_strides=(2, 2)), 'each of the 4 extra maps'),
        (dict(level_paddings=(1,)), 'each of the 4 extra maps'),
    ],
)
def test_wrong_arguments_are_refused(kwargs, said):
    with pytest.raises(ValueError, match=said):
        SSDLiteNeck(**kwargs)
