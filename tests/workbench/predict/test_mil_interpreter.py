"""Operations of MIL in the interpreter against torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mbv2_backbone.common.messages import UserError

pytestmark = pytest.mark.runtime
SHAPE = (1, 4, 6, 10)
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(6, 2, 3, 3)).astype(np.float32)
BIAS = RNG.normal(size=6).astype(np.float32)
OTHER = RNG.normal(size=SHAPE).astype(np.float32)
# The operation that coremltools' builder makes, and what torch has for it.
CASES = {
    'conv': (
        lambda mb, x: mb.conv(
            x=x, weight=KERNEL, bias=BIAS, strides=[2, 1], pad_type='custom', pad=[1, 2, 0, 3],
            dilations=[1, 2], groups=2,
        ),
        lambda x: F.conv2d(
            F.pad(x, (0, 3, 1, 2)), torch.tensor(KERNEL), torch.tensor(BIAS), (2, 1), 0, (1, 2), 2
        ),
    ),
    'upsample': (
        lambda mb, x: mb.upsample_bilinear(
            x=x, scale_factor_height=2.5, scale_factor_width=0.5, align_corners=False
        ),
        lambda x: F.interpolate(x, (15, 5), mode='bilinear', align_corners=False),
    ),
    'upsample corners': (
        lambda mb, x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=True
        ),
        lambda x: F.interpolate(x, (12, 30), mode='bilinear', align_corners=True),
    ),
    'upsample nearest': (
        lambda mb, x: mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=2, scale_factor_width=3
        ),
        lambda x: x.repeat_interleave(2, 2).repeat_interleave(3, 3),
    ),
    'floor': (lambda mb, x: mb.floor(x=x), torch.floor),
    'expand_dims': (lambda mb, x: mb.expand_dims(x=x, axes=[-1]), lambda x: x[..., None]),
    'pad': (
        lambda mb, x: mb.pad(x=x, pad=[0, 0, 0, 0, 1, 2, 0, 3], mode='constant', constant_val=5.0),
        lambda x: F.pad(x, (0, 3, 1, 2), value=5.0),
    ),
    'slice': (
        lambda mb, x: mb.slice_by_index(
            x=x, begin=[0, 1, 0, -3], end=[0, 3, 0, -1], stride=[1, 1, 2, 1],
            begin_mask=[True, False, True, False], end_mask=[True, False, True, False],
        ),
        lambda x: x[:, 1:3, ::2, -3:-1],
    ),
    'slice one': (
        lambda mb, x: mb.slice_by_index(
            x=x, begin=[0, 2, 0, 0], end=[0, 0, 0, 0],
            begin_mask=[True, False, True, True], end_mask=[True, False, True, True],
            squeeze_mask=[False, True, False, False],
        ),
        lambda x: x[:, 2],
    ),
    'flip': (lambda mb, x: mb.reverse(x=x, axes=[1]), lambda x: x.flip(1)),
    'topk values': (lambda mb, x: mb.topk(x=x, k=3, axis=3)[0], lambda x: x.topk(3, 3)[0]),
    'topk indices': (lambda mb, x: mb.topk(x=x, k=3, axis=3)[1], lambda x: x.topk(3, 3)[1].int()),
    'gather': (
        lambda mb, x: mb.gather(x=x, indices=np.array([3, 0, 3], np.int32), axis=2),
        lambda x: x[:, :, [3, 0, 3]],
    ),
    'reduce_argmax': (
        lambda mb, x: mb.reduce_argmax(x=x, axis=1, keep_dims=False),
        lambda x: x.argmax(1).int(),
    ),
    'reduce_mean': (
        lambda mb, x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True),
        lambda x: x.mean((2, 3), keepdim=True),
    ),
    'reduce_min': (
        lambda mb, x: mb.reduce_min(x=x, axes=[1], keep_dims=False), lambda x: x.amin(1)
    ),
    'floor_div': (lambda mb, x: mb.floor_div(x=x, y=2.0), lambda x: (x / 2).floor()),
    'mod': (lambda mb, x: mb.mod(x=x, y=2.0), lambda x: x - 2 * (x / 2).floor()),
    'split': (
        lambda mb, x: mb.concat(values=mb.split(x=x, split_sizes=[1, 3], axis=1)[::-1], axis=1),
        lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
    ),
    'tile': (lambda mb, x: mb.tile(x=x, reps=[1, 1, 2, 3]), lambda x: x.repeat(1, 1, 2, 3)),
    'greater': (lambda mb, x: mb.greater(x=x, y=0.5), lambda x: x > 0.5),
    'relu6': (lambda mb, x: mb.relu6(x=x), lambda x: F.relu6(x)),
    'clip': (lambda mb, x: mb.clip(x=x, alpha=-1.0, beta=2.0), lambda x: x.clamp(-1, 2)),
    'softmax': (lambda mb, x: mb.softmax(x=x, axis=1), lambda x: x.softmax(1)),
    'sigmoid': (lambda mb, x: mb.sigmoid(x=x), torch.sigmoid),
    'exp': (lambda mb, x: mb.exp(x=x), torch.exp),
    'transpose': (
        lambda mb, x: mb.transpose(x=x, perm=[0, 2, 3, 1]), lambda x: x.permute(0, 2, 3, 1)
    ),
    'minimum': (lambda mb, x: mb.minimum(x=x, y=OTHER), lambda x: x.minimum(torch.tensor(OTHER))),
    'maximum': (lambda mb, x: mb.maximum(x=x, y=0.5), lambda x: x.clamp(min=0.5)),
    'real_div': (lambda mb, x: mb.real_div(x=x, y=OTHER), lambda x: x / torch.tensor(OTHER)),
    'half': (
        lambda mb, x: mb.mul(x=mb.cast(x=x, dtype='fp16'), y=np.float16(1.1)),
        lambda x: x.half() * torch.tensor(1.1, dtype=torch.float16),
    ),
}  # fmt: skip


def main_of(build):
    """Return a function of MIL with one input, `x`."""
    import coremltools
    from coremltools.converters.mil.mil import Builder

    def program(x):
        return build(Builder, x)

    specs = [Builder.TensorSpec(shape=SHAPE)]
    target = coremltools.target.iOS15
    return Builder.program(input_specs=specs, opset_version=target)(program).functions['main']


@pytest.mark.parametrize('name', CASES)
def test_an_operation_is_torchs(rng, name):
    from mbv2_backbone.workbench.predict.mil_interpreter import run

    build, expected = CASES[name]
    x = torch.from_numpy(rng.normal(size=SHAPE).astype(np.float32) * 4)
    (found,) = run(main_of(build), x=x).values()
    torch.testing.assert_close(found, expected(x), atol=1e-5, rtol=1e-5)


def test_an_unknown_operation_is_named():
    from mbv2_backbone.workbench.predict.mil_interpreter import run

    with pytest.raises(UserError, match='erf cannot be checked without Core ML'):
        run(main_of(lambda mb, x: mb.erf(x=x)), x=torch.zeros(SHAPE))


def test_another_padding_is_named():
    from mbv2_backbone.workbench.predict.mil_interpreter import run

    same = main_of(lambda mb, x: mb.conv(x=x, weight=KERNEL, pad_type='same', groups=2))
    with pytest.raises(UserError, match='the padding same cannot be checked'):
        run(same, x=torch.zeros(SHAPE))
