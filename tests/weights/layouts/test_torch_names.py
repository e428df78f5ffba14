"""Converted weights of each torch library give the original outputs, at every tap."""

import pytest
import timm as timm_library
import torch
import torchvision as torchvision_library
from helpers.networks import images, randomise
from original_networks import TIMM_NAMES, torch_taps

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.arch import TAP_NAMES, build_architecture
from mbv2_backbone.weights import convert, load_into
from mbv2_backbone.weights.convert import PUBLISHED_WIDTHS
from mbv2_backbone.weights.layouts import mmdet_names as mmdet
from mbv2_backbone.weights.layouts import mmseg_names as mmseg
from mbv2_backbone.weights.layouts import timm_names as timm
from mbv2_backbone.weights.layouts import torchvision_names as torchvision
from mbv2_backbone.weights.layouts.schema import tensor_shapes

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
SEG_TAPS = tuple(tap for tap in TAP_NAMES if tap != 'conv2')


def mmdet_model(width):
    from mmdet.models.backbones import MobileNetV2

    return MobileNetV2(widen_factor=width, out_indices=range(8))


def mmseg_model(width):
    from mmseg.models.backbones import MobileNetV2

    return MobileNetV2(widen_factor=width, out_indices=range(7))


BUILDERS = {
    torchvision.LAYOUT: lambda width: torchvision_library.models.mobilenet_v2(width_mult=width),
    timm.LAYOUT: lambda width: timm_library.create_model(TIMM_NAMES[width]),
    mmdet.LAYOUT: mmdet_model,
    mmseg.LAYOUT: mmseg_model,
}


def build(layout, width=0.35, seed=0):
    return randomise(BUILDERS[layout](width), seed=seed)


CASES = [
    (layout, width)
    for layout in BUILDERS
    for width in WIDTHS
    if layout is not timm.LAYOUT or width in TIMM_NAMES
]


def count_batches(model):
    """Set the counters to values other than their initial 0."""
    for name, buffer in model.named_buffers():
        if name.endswith('num_batches_tracked'):
            buffer.fill_(7)
    return model


def assert_same_taps(layout, model, backbone, size=64):
    x = images(2, 3, size, size)
    wanted = torch_taps(layout, model, x)
    with torch.no_grad():
        got = backbone.eval()(x)
    assert len(wanted) == len(got)
    for info, feature in zip(backbone.feature_info, got, strict=True):
        assert wanted[info.name].abs().max() > 0.1, 'a map of zeros would prove nothing'
        torch.testing.assert_close(feature, wanted[info.name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('layout', 'width'), CASES, ids=lambda v: getattr(v, 'name', None) or str(v)
)
def test_numbers_of_the_origin(layout, width, tmp_path):
    model = count_batches(build(layout, width))
    torch.save(model.state_dict(), tmp_path / 'origin.pth')
    taps = SEG_TAPS if layout is mmseg.LAYOUT else TAP_NAMES
    backbone = MobileNetV2Backbone(widen_factor=width, out_indices=taps)

    report = load_into(backbone, tmp_path / 'origin.pth')

    total = 6 * (51 if layout is mmseg.LAYOUT else 52)
    assert (report.layout, report.widen_factor) == (layout.name, width)
    assert (report.filled, report.total, report.zeroed) == (total, total, ())
    assert all(b == 7 for n, b in backbone.named_buffers() if n.endswith('num_batches_tracked'))
    assert_same_taps(layout, model, backbone, size=75 if width == 1.0 else 64)


def test_timm_safetensors(tmp_path):
    from safetensors.torch import save_file

    model = build(timm.LAYOUT, 0.5)
    save_file(model.state_dict(), tmp_path / 'model.safetensors')
    backbone = MobileNetV2Backbone(widen_factor=0.5, out_indices=TAP_NAMES)
    report = load_into(backbone, tmp_path / 'model.safetensors')
    assert set(report.left_over['classifier']) == {'classifier.weight', 'classifier.bias'}
    assert_same_taps(timm.LAYOUT, model, backbone)


@pytest.mark.parametrize('variant', ['mobilenetv2_110d', 'mobilenetv2_120d'])
def test_timms_deeper_variants_are_refused_by_name(variant):
    state_dict = timm_library.create_model(variant).state_dict()
    with pytest.raises(ValueError, match=f'It is timm {variant}.*not supported'):
        convert(state_dict)


@pytest.mark.parametrize('name', ['mobilenet_v3_small', 'efficientnet_b0', 'resnet18', 'vgg11'])
def test_other_networks_of_torchvision_are_refused(name):
    with torch.device('meta'):
        state_dict = getattr(torchvision_library.models, name)().state_dict()
    with pytest.raises(ValueError, match='no MobileNetV2 of a known layout'):
        convert(state_dict)


@pytest.mark.parametrize('name', ['mobilenetv3_large_100', 'efficientnet_lite0', 'mnasnet_100'])
def test_other_networks_of_timm_are_refused(name):
    with pytest.raises(ValueError, match='MobileNetV2'):
        convert(timm_library.create_model(name).state_dict())


@pytest.mark.parametrize('layout', [torchvision.LAYOUT, timm.LAYOUT, mmseg.LAYOUT])
def test_names_survive_a_round_trip(layout):
    state_dict = build(layout).state_dict()
    converted, _ = convert(state_dict)
    back = layout.from_ours(converted)
    assert all(back[name] is tensor for name, tensor in state_dict.items() if name in back)
    assert not [n for n in state_dict if n not in back and 'classifier' not in n]


@pytest.mark.parametrize(
    ('layout', 'width'), CASES, ids=lambda v: getattr(v, 'name', None) or str(v)
)
def test_the_channel_table_equals_the_original(layout, width):
    with torch.device('meta'):
        state_dict = BUILDERS[layout](width).state_dict()
    converted, _ = layout.to_ours(state_dict)
    wanted = tensor_shapes(build_architecture(width))
    if layout is mmseg.LAYOUT:
        wanted = {name: shape for name, shape in wanted.items() if 'conv2.' not in name}
    assert {name: tuple(t.shape) for name, t in converted.items()} == wanted


def test_published_widths_can_be_told_apart():
    tables = [tuple(tensor_shapes(build_architecture(w)).values()) for w in PUBLISHED_WIDTHS]
    assert len(set(tables)) == len(tables)


@pytest.mark.parametrize(
    'prefix', ['backbone.', 'module.', 'module.backbone.', 'teacher.module.backbone.']
)
def test_any_prefix_is_found(prefix):
    model = build(mmdet.LAYOUT)
    state_dict = {f'{prefix}{name}': t for name, t in model.state_dict().items()}
    state_dict['bbox_head.weight'] = torch.zeros(3)
    backbone = MobileNetV2Backbone(widen_factor=0.35, out_indices=TAP_NAMES)
    report = load_into(backbone, state_dict)
    assert report.prefix == prefix
    assert report.left_over == {'not part of the backbone': ('bbox_head.weight',)}
    assert_same_taps(mmdet.LAYOUT, model, backbone)


def test_two_backbones_need_a_prefix():
    teacher, student = build(torchvision.LAYOUT).state_dict(), build(mmdet.LAYOUT).state_dict()
    both = {f'teacher.{n}': t for n, t in teacher.items()}
    both |= {f'student.backbone.{n}': t for n, t in student.items()}
    with pytest.raises(ValueError, match=r"2 MobileNetV2s.*'teacher.', 'student.backbone.'"):
        convert(both)
    assert convert(both, prefix='teacher')[1].layout == 'torchvision'
    assert convert(both, prefix='student.backbone.')[1].layout == 'mmdet'
    with pytest.raises(ValueError, match="under the prefix 'other'"):
        convert(both, prefix='other')


@pytest.mark.parametrize('key', ['state_dict_ema', 'model_ema'])
def test_averaged_weights_are_preferred_where_they_are_separate(key):
    plain, averaged = build(torchvision.LAYOUT), build(torchvision.LAYOUT, seed=5)
    wrapped = {f'module.{name}': t for name, t in averaged.state_dict().items()}
    plain_key = {'state_dict_ema': 'state_dict', 'model_ema': 'model'}[key]
    checkpoint = {plain_key: plain.state_dict(), key: wrapped, 'epoch': 3}
    converted, report = convert(checkpoint)
    assert torch.equal(converted['conv1.conv.weight'], averaged.features[0][0].weight)
    assert key in str(report)


def test_mmengines_averaged_weights_are_in_state_dict():
    from mmengine.hooks import EMAHook
    from mmengine.model import ExponentialMovingAverage

    model = torch.nn.ModuleDict({'backbone': build(mmdet.LAYOUT)})
    hook = EMAHook()
    hook.ema_model = ExponentialMovingAverage(model)
    randomise(hook.ema_model.module, seed=9)
    checkpoint = {'state_dict': model.state_dict(), 'meta': {}}
    hook.src_model = model
    averaged = hook.ema_model.module['backbone'].conv1.conv.weight.clone()
    hook.before_save_checkpoint(None, checkpoint)

    converted, report = convert(checkpoint)

    assert torch.equal(converted['conv1.conv.weight'], averaged)
    assert 'averaged' in str(report)


def test_mmpretrain_is_mmseg_with_conv2_and_a_head():
    model = build(mmdet.LAYOUT)
    state_dict = {f'backbone.{n}': t for n, t in build(mmseg.LAYOUT).state_dict().items()}
    conv2 = {f'backbone.{n}': t for n, t in model.state_dict().items() if n.startswith('conv2.')}
    checkpoint = state_dict | conv2 | {'head.fc.weight': torch.zeros(5, 1280)}
    converted, report = convert(dict(state_dict=checkpoint))
    assert (report.layout, report.prefix, report.filled) == ('mmseg/mmpretrain', 'backbone.', 312)
    assert report.left_over == {'classifier': ('head.fc.weight',)}
    assert torch.equal(converted['conv2.bn.running_var'], model.conv2.bn.running_var)
    assert torch.equal(
        converted['layer1.0.depthwise_conv.conv.weight'],
        state_dict['backbone.layer1.0.conv.0.conv.weight'],
    )
