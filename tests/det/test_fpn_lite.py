"""The top-down neck against its definition, and the inputs it refuses."""

import pytest
import torch
import torch.nn.functional as F
from helpers.networks import images, randomise
from torch import nn

from mbv2_backbone.det import FPNLite

CHANNELS = (16, 24, 32)


def maps(size, seed=0):
    """Return maps of stride 1, 2 and 4, with sizes rounded up as in the backbone."""
    sides = [size, -(-size // 2), -(-size // 4)]
    return tuple(images(2, c, s, s, seed=seed) for c, s in zip(CHANNELS, sides, strict=True))


@pytest.mark.parametrize('size', [16, 13])
def test_each_level_follows_the_definition(size):
    neck = FPNLite(in_channels=CHANNELS, out_channels=8, num_outs=5)
    randomise(neck)
    neck.eval()
    x = maps(size)
    outs = neck(x)
    fine, middle, coarse = (conv(f) for conv, f in zip(neck.lateral_convs, x, strict=True))
    middle = middle + F.interpolate(coarse, size=middle.shape[-2:])
    fine = fine + F.interpolate(middle, size=fine.shape[-2:])
    expected = [conv(f) for conv, f in zip(neck.fpn_convs, (fine, middle, coarse), strict=False)]
    expected.append(neck.fpn_convs[3](expected[2]))
    expected.append(neck.fpn_convs[4](expected[3]))
    for out, want in zip(outs, expected, strict=True):
        torch.testing.assert_close(out, want)
    halves = [-(-outs[2].shape[-1] // 2**i) for i in range(3)]
    assert [out.shape[-1] for out in outs[2:]] == halves


def test_a_fine_level_sees_what_the_coarse_map_sees():
    neck = FPNLite(in_channels=CHANNELS, out_channels=8, num_outs=3).eval()
    randomise(neck)
    x = maps(16)
    changed = (*x[:2], x[2] + 1)
    assert not torch.equal(neck(x)[0], neck(changed)[0])
    assert torch.equal(neck(x)[0][:1], neck(tuple(f[:1] for f in x))[0])


def test_convolutions_are_separable():
    neck = FPNLite(in_channels=CHANNELS, out_channels=8, num_outs=4)
    convs = [m for m in neck.modules() if isinstance(m, nn.Conv2d)]
    spatial = [conv for conv in convs if conv.kernel_size == (3, 3)]
    assert len(spatial) == 4
    assert all(conv.groups == conv.in_channels for conv in spatial)


@pytest.mark.parametrize(
    ('num_outs', 'count', 'said'), [(2, 3, 'num_outs must be at least 3'), (4, 2, 'expected 3')]
)
def test_inputs_that_do_not_fit_are_refused(num_outs, count, said):
    with pytest.raises(ValueError, match=said):
        FPNLite(in_channels=CHANNELS, out_channels=8, num_outs=num_outs)(maps(16)[:count])
