"""Loading pretrained weights: loaded, refused, reported."""

import copy

import pytest
import torch
from helpers.networks import images, our_backbone, randomise

from mbv2_backbone.arch import TAP_NAMES
from mbv2_backbone.weights import convert, load_into
from mbv2_backbone.weights.layouts.schema import UNITS
from mbv2_backbone.weights.origin import Origin
from mbv2_backbone.weights.preprocessing import MINUS_ONE_TO_ONE


def snapshot(module):
    return {name: t.clone() for name, t in module.state_dict().items()}


def assert_unchanged(module, before):
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())


def test_the_report_is_one_complete_line(narrow_weights):
    report = load_into(our_backbone(), narrow_weights)
    assert str(report) == (
        'state dict: torchvision layout; width 0.35; 312 of 312 tensors filled; left over, '
        'classifier: classifier.1.weight, classifier.1.bias; input: RGB, mean [123.675, 116.28, '
        "103.53], std [58.395, 57.12, 57.375], range -2.1 to 2.6; padding 'symmetric', batch norm "
        'eps 1e-05'
    )


@pytest.mark.parametrize('tap', TAP_NAMES)
def test_a_backbone_that_ends_early_is_filled_completely(narrow_weights, tap):
    backbone = our_backbone(out_indices=tap)
    report = load_into(backbone, narrow_weights)
    assert report.filled == report.total == len(backbone.state_dict())
    unused = report.left_over.get('after the last tap', ())
    assert len(unused) + report.filled == 6 * len(UNITS)
    converted, _ = convert(narrow_weights)
    assert all(torch.equal(t, converted[name]) for name, t in backbone.state_dict().items())


def test_wrong_width_names_both_and_changes_nothing(narrow_weights):
    backbone = our_backbone(widen_factor=1.0)
    before = snapshot(backbone)
    with pytest.raises(ValueError, match=r'checkpoint is width 0\.35; the config says 1 '):
        load_into(backbone, narrow_weights)
    assert_unchanged(backbone, before)


def test_wrong_width_is_refused_even_where_the_shapes_are_the_same(narrow_weights):
    backbone = our_backbone(widen_factor=0.5, out_indices='conv1')
    with pytest.raises(ValueError, match=r'width 0\.35; the config says 0\.5 \(0 shapes differ\)'):
        load_into(backbone, narrow_weights)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_values_that_are_not_finite_are_refused(narrow_weights, value):
    broken = copy.deepcopy(narrow_weights)
    broken['features.3.conv.1.1.running_var'][4] = value
    with pytest.raises(
        ValueError, match=r'1 tensors hold NaN or infinity: layer2\.1\.depthwise_conv\.bn\.running_'
    ):
        load_into(our_backbone(), broken)


@pytest.mark.parametrize(
    ('name', 'ours'),
    [
        ('features.0.0.weight', 'conv1.conv.weight'),
        ('features.7.conv.2.weight', 'layer4.0.linear_conv.conv.weight'),
        ('features.18.1.running_mean', 'conv2.bn.running_mean'),
    ],
)
def test_a_missing_tensor_is_named(narrow_weights, name, ours):
    incomplete = {n: t for n, t in narrow_weights.items() if n != name}
    for strict in (True, False):
        with pytest.raises(ValueError, match='1 of 312 tensors are missing.*' + ours):
            load_into(our_backbone(), incomplete, strict=strict)


def test_absent_counters_are_filled_with_zeros_and_counted(narrow_weights):
    old = {n: t for n, t in narrow_weights.items() if 'num_batches' not in n}
    backbone = our_backbone(out_indices='layer1')
    for name, buffer in backbone.named_buffers():
        if name.endswith('num_batches_tracked'):
            buffer.fill_(7)
    report = load_into(backbone, old)
    assert report.zeroed == tuple(
        f'{unit}.bn.num_batches_tracked'
        for unit in ('conv1', 'layer1.0.depthwise_conv', 'layer1.0.linear_conv')
    )
    assert not backbone.conv1.bn.num_batches_tracked
    assert '3 of them absent batch counters, set to 0' in str(report)


def test_a_pruned_network_is_refused(narrow_weights):
    pruned = copy.deepcopy(narrow_weights)
    pruned['features.2.conv.0.0.weight'] = pruned['features.2.conv.0.0.weight'][:40]
    with pytest.raises(ValueError, match=r'fit no width.*layer2\.0\.expand_conv\.conv\.weight is '):
        load_into(our_backbone(), pruned)


def test_a_custom_width(narrow_weights):
    source = our_backbone(widen_factor=0.63)
    randomise(source)
    report = load_into(our_backbone(widen_factor=0.63), source.state_dict())
    assert report.widen_factor == 0.63


@pytest.mark.parametrize('checkpoint', [{}, {'epoch': 3}, {'state_dict': {}}, {'a.weight': None}])
def test_a_checkpoint_without_tensors_is_refused(checkpoint):
    with pytest.raises(ValueError, match='the checkpoint holds no tensor, only '):
        load_into(our_backbone(), checkpoint)


def test_quantised_weights_are_refused(narrow_weights):
    quantised = dict(narrow_weights) | {
        'features.0.0.weight': torch.zeros(16, 3, 3, 3, dtype=torch.int8)
    }
    with pytest.raises(ValueError, match=r'conv1\.conv\.weight hold integers'):
        load_into(our_backbone(), quantised)


@pytest.mark.parametrize(
    'norm_cfg', [dict(type='GN', num_groups=1), dict(type='BN', affine=False)], ids=['GN', 'bare']
)
def test_other_norms_are_refused(narrow_weights, norm_cfg):
    with pytest.raises(ValueError, match='pretrained weights need batch norm'):
        load_into(our_backbone(norm_cfg=norm_cfg), narrow_weights)


def test_other_models_are_refused(narrow_weights):
    with pytest.raises(ValueError, match=r'expected a MobileNetV2Backbone.*got Linear'):
        load_into(torch.nn.Linear(2, 2), narrow_weights)


def test_half_precision_is_read(narrow_weights):
    half = {n: t.half() if t.is_floating_point() else t for n, t in narrow_weights.items()}
    backbone = our_backbone()
    load_into(backbone, half)
    assert backbone.conv1.conv.weight.dtype == torch.float32
    assert torch.equal(backbone.conv1.conv.weight, half['features.0.0.weight'].float())


def test_mmseg_has_no_conv2():
    from mmseg.models.backbones import MobileNetV2

    state_dict = randomise(MobileNetV2(widen_factor=0.35)).state_dict()
    backbone = our_backbone()
    before = snapshot(backbone)
    with pytest.raises(ValueError, match=r'6 of the 312.*conv2.conv.weight.*ends with layer7'):
        load_into(backbone, state_dict)
    assert_unchanged(backbone, before)
    report = load_into(backbone, state_dict, strict=False)
    assert (report.filled, report.total, len(report.missing)) == (306, 312, 6)
    assert 'kept their values: conv2.conv.weight' in str(report)
    assert torch.equal(backbone.conv2.conv.weight, before['conv2.conv.weight'])
    assert not torch.equal(backbone.conv1.conv.weight, before['conv1.conv.weight'])


def test_init_cfg_loads_last_and_reports(narrow_weights, tmp_path, monkeypatch):
    torch.save(narrow_weights, tmp_path / 'tv.pth')
    logged = []
    monkeypatch.setattr('mmengine.logging.print_log', lambda text, **_: logged.append(text))
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'tv.pth'), map_location='cpu')
    backbone = our_backbone(init_cfg=cfg)
    backbone.init_weights()
    assert torch.equal(backbone.conv1.conv.weight, narrow_weights['features.0.0.weight'])
    assert torch.equal(backbone.conv1.bn.running_var, narrow_weights['features.0.1.running_var'])
    assert sum('312 of 312 tensors filled' in text for text in logged) == 1


def test_init_cfg_refuses_weights_that_do_not_fit(narrow_weights, tmp_path):
    torch.save(narrow_weights, tmp_path / 'tv.pth')
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'tv.pth'))
    with pytest.raises(ValueError, match=r'tv\.pth: this checkpoint is width 0\.35'):
        our_backbone(widen_factor=0.5, init_cfg=cfg).init_weights()
    with pytest.raises(ValueError, match=r"does not know \['revise_keys'\]"):
        our_backbone(init_cfg=cfg | dict(revise_keys=[])).init_weights()
    with pytest.raises(ValueError, match='needs a checkpoint'):
        our_backbone(init_cfg=dict(type='Pretrained')).init_weights()


@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg'])
def test_init_cfg_in_the_toolboxes_own_models(toolbox, narrow_weights, tmp_path):
    torch.save(narrow_weights, tmp_path / 'tv.pth')
    backbone = dict(
        type='MobileNetV2Backbone',
        widen_factor=0.35,
        out_indices='layer7',
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'tv.pth')),
    )
    if toolbox == 'mmdet':
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules

        register_all_modules(init_default_scope=True)
        head = dict(type='CenterNetHead', in_channels=112, feat_channels=8, num_classes=2)
        cfg = dict(type='CenterNet', backbone=backbone, neck=None, bbox_head=head)
    else:
        from mmseg.registry import MODELS
        from mmseg.utils import register_all_modules

        register_all_modules(init_default_scope=True)
        head = dict(type='FCNHead', in_channels=112, channels=8, num_classes=2, in_index=0)
        cfg = dict(type='EncoderDecoder', backbone=backbone, decode_head=head)
    model = MODELS.build(cfg)
    model.init_weights()
    assert torch.equal(model.backbone.conv1.conv.weight, narrow_weights['features.0.0.weight'])
    assert torch.equal(
        model.backbone.layer7[0].linear_conv.bn.running_var,
        narrow_weights['features.17.conv.3.running_var'],
    )


def test_a_checkpoint_states_its_origin(narrow_weights):
    cfg = (
        "model = dict(backbone=dict(padding='same', norm_cfg=dict(type='BN', eps=0.001)),"
        'data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5],'
        'bgr_to_rgb=True))'
    )
    _, report = convert(dict(state_dict=narrow_weights, meta=dict(cfg=cfg)))
    assert report.origin == Origin(MINUS_ONE_TO_ONE, 'same', 1e-3)
    _, again = convert(dict(state_dict=narrow_weights, meta=report.origin.to_meta()))
    assert again.origin == report.origin
    with pytest.raises(ValueError, match='not written by convert_weights'):
        convert(dict(state_dict=narrow_weights, meta=dict(mbv2_backbone=dict(padding='same'))))


def test_loaded_weights_are_the_backbones_own(narrow_weights):
    source = copy.deepcopy(narrow_weights)
    backbone = our_backbone()
    load_into(backbone, source)
    x = images(1, 3, 32, 32)
    before = backbone.eval()(x)[0]
    for tensor in source.values():
        tensor.zero_()
    assert torch.equal(backbone(x)[0], before)
