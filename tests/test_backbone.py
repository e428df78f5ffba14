"""The backbone: its taps, and parity with torchvision, mmdet and mmseg."""

import copy
import math

import mmdet.models.backbones as mmdet_backbones
import mmseg.models.backbones as mmseg_backbones
import pytest
import torch
import torchvision
from helpers.networks import images, randomise
from mmengine.registry import MODELS
from torch import nn

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.arch import TAP_NAMES
from mbv2_backbone.blocks import LeanReLU6

WIDTHS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
LAYERS = tuple(f'layer{i}' for i in range(1, 8))


def build(**kwargs):
    return randomise(MobileNetV2Backbone(**kwargs)).eval()


@pytest.mark.parametrize('padding', ['symmetric', 'same'])
@pytest.mark.parametrize('output_stride', [8, 16, 32])
@pytest.mark.parametrize('width', WIDTHS)
def test_feature_info_describes_the_outputs(width, output_stride, padding):
    model = build(
        widen_factor=width, out_indices=TAP_NAMES, output_stride=output_stride, padding=padding
    )
    for height, width_px in [(64, 64), (65, 97), (33, 50)]:
        with torch.no_grad():
            outs = model(images(1, 3, height, width_px))
        assert [info.name for info in model.feature_info] == list(TAP_NAMES)
        for info, out in zip(model.feature_info, outs, strict=True):
            expected = (math.ceil(height / info.stride), math.ceil(width_px / info.stride))
            assert tuple(out.shape) == (1, info.channels, *expected), info


@pytest.mark.parametrize('tap', TAP_NAMES)
def test_each_tap_alone_equals_the_full_pass_and_builds_no_more(tap):
    full = build(out_indices=TAP_NAMES)
    single = MobileNetV2Backbone(out_indices=(tap,)).eval()
    missing, _ = single.load_state_dict(full.state_dict(), strict=False)
    assert not missing
    x = images(2, 3, 40, 56)
    single_out = single(x)
    assert len(single_out) == 1
    torch.testing.assert_close(single_out[0], full(x)[TAP_NAMES.index(tap)], rtol=0, atol=0)
    single(x)[0].sum().backward()
    unused = [name for name, p in single.named_parameters() if p.grad is None]
    assert not unused


def test_registered_in_the_root_registry_and_seen_from_the_toolboxes():
    from mmdet.registry import MODELS as DET
    from mmseg.registry import MODELS as SEG

    for registry in (MODELS, DET, SEG):
        assert isinstance(registry.build(dict(type='MobileNetV2Backbone')), MobileNetV2Backbone)


@pytest.mark.parametrize('output_stride', [8, 16])
def test_a_smaller_output_stride_is_the_same_network_on_a_finer_grid(output_stride):
    coarse = build(out_indices=LAYERS)
    fine = build(out_indices=LAYERS, output_stride=output_stride)
    x = images(1, 3, 97, 129)
    for info, a, b in zip(coarse.feature_info, coarse(x), fine(x), strict=True):
        step = max(1, info.stride // output_stride)
        torch.testing.assert_close(b[..., ::step, ::step], a, rtol=1e-4, atol=1e-5)


def torchvision_taps(model, x):
    """Return every tap of torchvision's mobilenet_v2, from its public modules only."""
    taps, starts = {}, {1: 'layer1', 2: 'layer2', 4: 'layer3', 7: 'layer4', 11: 'layer5',
                        14: 'layer6', 17: 'layer7'}  # fmt: skip
    name = None
    for i, block in enumerate(model.features):
        if i in starts:
            name = starts[i]
            if name != 'layer1':
                taps[f'{name}.expand'] = block.conv[0](x)
        x = block(x)
        taps['conv1' if i == 0 else 'conv2' if i == 18 else name] = x
    return taps


def from_torchvision(model):
    """Map keys by order: both list convolutions and norms in the order in which they run."""
    ours = MobileNetV2Backbone(
        out_indices=TAP_NAMES, widen_factor=model.features[0][0].out_channels / 32
    )
    values = [v for k, v in model.state_dict().items() if not k.startswith('classifier')]
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    return ours.double()


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_parity_with_torchvision_outputs_and_gradients(mode):
    theirs = randomise(torchvision.models.mobilenet_v2(weights=None)).double()
    ours = from_torchvision(theirs)
    once = copy.deepcopy(theirs)  # the oracle below runs each expansion twice
    getattr(theirs, mode)(), getattr(ours, mode)(), getattr(once, mode)()
    x = images(2, 3, 64, 96).double()
    outs, expected = ours(x), torchvision_taps(theirs, x)
    for name, out in zip(TAP_NAMES, outs, strict=True):
        torch.testing.assert_close(out, expected[name], rtol=1e-5, atol=1e-5, msg=name)
    for taps in (dict(zip(TAP_NAMES, outs, strict=True)), expected):
        sum((tap.square().mean() for tap in taps.values()), 0).backward()
    grads = [p.grad for n, p in theirs.named_parameters() if not n.startswith('classifier')]
    for (name, p), grad in zip(ours.named_parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=1e-5, atol=1e-5, msg=name)
    once.features(x)
    for (name, a), b in zip(ours.named_buffers(), once.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('width', [0.35, 0.5, 1.0, 1.4])
def test_parity_with_mmdet(width, mode):
    theirs = randomise(mmdet_backbones.MobileNetV2(widen_factor=width, out_indices=range(8)))
    ours = MobileNetV2Backbone(widen_factor=width, out_indices=tuple(range(8)))
    ours.load_state_dict(theirs.state_dict())  # the published names, as they are
    compare(ours, theirs, mode)


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_parity_with_mmseg(mode):
    theirs = randomise(mmseg_backbones.MobileNetV2(out_indices=range(7)))
    ours = MobileNetV2Backbone(out_indices=tuple(range(7)))
    values = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    compare(ours, theirs, mode)


def compare(ours, theirs, mode):
    getattr(theirs.double(), mode)(), getattr(ours.double(), mode)()
    x = images(2, 3, 64, 65).double()
    for out, expected in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    ours(x)[-1].square().mean().backward()
    theirs(x)[-1].square().mean().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)


def test_same_padding_is_tensorflows():
    """Output i of a stride-2 convolution begins at input 2i on even sizes, at 2i - 1 on odd."""
    model = build(out_indices=('conv1',), padding='same', act_cfg=dict(type='ReLU'))
    conv, norm = model.conv1.conv, model.conv1.bn
    for size, before in [(8, 0), (9, 1)]:
        x = images(1, 3, size, size)
        padded = nn.functional.pad(x, (before, 1, before, 1))
        expected = norm(nn.functional.conv2d(padded, conv.weight, stride=2))
        torch.testing.assert_close(model(x)[0], expected.relu())


@pytest.mark.parametrize(('width', 'layer2', 'mid_channels'), [(0.5, 12, 72), (0.35, 8, 48)])
def test_channels_need_not_be_multiples_of_8(width, layer2, mid_channels):
    """The weights have the shapes of TensorFlow's DeepLab models narrower than width 1."""
    model = build(widen_factor=width, round_to=1, out_indices=TAP_NAMES, padding='same')
    assert model.round_to == 1
    assert model.layer2[1].linear_conv.conv.weight.shape == (layer2, mid_channels, 1, 1)
    with torch.no_grad():
        outs = model(images(2, 3, 33, 48))
    for info, out in zip(model.feature_info, outs, strict=True):
        sides = (math.ceil(33 / info.stride), math.ceil(48 / info.stride))
        assert tuple(out.shape) == (2, info.channels, *sides), info
    assert outs[TAP_NAMES.index('layer3.expand')].shape[1] == mid_channels


@pytest.mark.parametrize('stages', range(-1, 9))
def test_freezing(stages):
    model = MobileNetV2Backbone(out_indices=('layer3', 'conv2'), frozen_stages=stages).train()
    names = ['conv1', *LAYERS, 'conv2']
    for i, name in enumerate(names):
        layer, frozen = getattr(model, name), i <= stages
        assert all(p.requires_grad is not frozen for p in layer.parameters()), name
        assert all(m.training is not frozen for m in layer.modules()), name
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad] or
                                [torch.zeros(1, requires_grad=True)], lr=0.1)  # fmt: skip
    out = sum((o.square().mean() for o in model(images(2, 3, 64, 64))), 0)
    if stages < 8:
        out.backward()
        optimizer.step()
    for key, value in model.state_dict().items():
        frozen = names.index(key.split('.')[0]) <= stages
        assert torch.equal(value, before[key]) or not frozen, key
    model.eval().train()
    assert model.conv1.training is (stages < 0)


def test_norm_eval_keeps_statistics_and_trains_weights():
    model = randomise(MobileNetV2Backbone(norm_eval=True)).train()
    before = model.layer3[0].depthwise_conv.bn.running_mean.clone()
    model(images(2, 3, 32, 32))[-1].sum().backward()
    assert torch.equal(model.layer3[0].depthwise_conv.bn.running_mean, before)
    assert model.layer3[0].depthwise_conv.bn.weight.grad is not None


@pytest.mark.parametrize('taps', [('layer2', 'layer6.expand', 'conv2'), ('layer7',)])
def test_with_cp_changes_memory_and_nothing_else(taps):
    plain = randomise(MobileNetV2Backbone(out_indices=taps)).train()
    saving = MobileNetV2Backbone(out_indices=taps, with_cp=True).train()
    saving.load_state_dict(plain.state_dict())
    x = images(2, 3, 64, 64)
    saved = []
    for model in (plain, saving):
        held = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, h=held: h.append(t.numel()) or t,
                                                      lambda t: t):  # fmt: skip
            outs = model(x)
        saved.append(sum(held))
        sum((o.square().mean() for o in outs), 0).backward()
    assert saved[1] < 0.5 * saved[0]
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=0, msg=name)
    for (name, a), b in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(a, b), name


def test_channels_last_and_contiguous_agree():
    model = build(out_indices=('layer6.expand', 'conv2')).double()
    x = images(2, 3, 64, 64).double()
    expected = model(x)
    outs = model.to(memory_format=torch.channels_last)(x)
    assert all(out.is_contiguous(memory_format=torch.channels_last) for out in outs)
    for out, exp in zip(outs, expected, strict=True):
        torch.testing.assert_close(out, exp)


@pytest.mark.parametrize(
    ('kwargs', 'said'),
    [
        (dict(out_indices=('layer8',)), 'layer7.expand'),
        (dict(widen_factor=0), 'above 0'),
        (dict(output_stride=64), r'\(8, 16, 32\)'),
        (dict(round_to=0), 'round_to'),
        (dict(padding='valid'), r"\('symmetric', 'same'\)"),
        (dict(frozen_stages=9), 'conv2 too'),
        (dict(frozen_stages=-2), 'conv2 too'),
        (dict(init_cfg='weights.pth'), 'must be a dict'),
    ],
)
def test_wrong_arguments_are_refused_with_the_valid_ones(kwargs, said):
    with pytest.raises(ValueError, match=said):
        MobileNetV2Backbone(**kwargs)


def test_arguments_are_keyword_only():
    with pytest.raises(TypeError):
        MobileNetV2Backbone(1.0)


def test_default_initialisation_is_kaiming():
    model = MobileNetV2Backbone()
    model.init_weights()
    weight = model.layer7[0].linear_conv.conv.weight
    assert weight.std().item() == pytest.approx((2 / 320) ** 0.5, rel=0.05)
    assert torch.equal(model.conv1.bn.weight, torch.ones(32))


def test_classifier_included_it_has_the_papers_parameters():
    backbone = MobileNetV2Backbone(out_indices=('conv2',))
    params = sum(p.numel() for p in backbone.parameters()) + 1280 * 1000 + 1000
    assert params == 3_504_872  # torchvision's count; paper, table 4: 3.4 M


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_the_activation_is_relu6_without_a_copy(dtype):
    x = (images(2, 3, 5, 7) * 5).to(dtype)
    x[:, :, 0, :3] = torch.tensor([0.0, 6.0, 7.0])
    grad = images(2, 3, 5, 7, seed=2).to(dtype)
    kept, results = {}, {}
    for kind in (nn.ReLU6, LeanReLU6):
        leaf = x.clone().requires_grad_()
        inner = leaf * 1
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kind=kind: (kept.setdefault(kind, t.data_ptr()), t)[1], lambda t: t
        ):
            out = kind(inplace=True)(inner)
        results[kind] = (out, *torch.autograd.grad(out, leaf, grad))
        assert (kept[kind] == out.data_ptr()) == (kind is LeanReLU6)
    for found, expected in zip(results[LeanReLU6], results[nn.ReLU6], strict=True):
        assert torch.equal(found, expected)


def test_the_activation_does_not_overwrite_inputs_that_are_needed():
    x = images(1, 2, 3, 3).requires_grad_()
    assert torch.equal(LeanReLU6(inplace=False)(x), x.clamp(0, 6))
    assert x.min() < 0
    activation = LeanReLU6(inplace=True).eval()
    assert torch.equal(activation(x * 1), x.clamp(0, 6))
    assert type(activation(x * 1).grad_fn).__name__ == 'HardtanhBackward0'
