"""README's feature table, checked on the installed packages."""

import inspect
import logging

import pytest
import timm
import torch
from helpers.networks import num_params
from measure.speed.peers import MMDET_CONFIG, MMSEG_CONFIG, stock_config
from mmdet.models.backbones import MobileNetV2 as DetMobileNetV2
from mmdet.registry import MODELS
from mmengine.runner import load_checkpoint
from mmseg.models.backbones import MobileNetV2 as SegMobileNetV2
from torch import nn
from torchvision.models import detection, get_model, list_models, segmentation
from torchvision.models.feature_extraction import get_graph_node_names


def parameters(function):
    return inspect.signature(function).parameters


def test_output_strides_and_padding():
    assert not {'dilations', 'strides', 'output_stride'} & set(parameters(DetMobileNetV2))
    assert 'dilations' in parameters(SegMobileNetV2)
    assert 'dilated' not in parameters(get_model('mobilenet_v2').__class__)
    for stride in (8, 16):
        model = timm.create_model('mobilenetv2_100', features_only=True, output_stride=stride)
        assert max(model.feature_info.reduction()) == stride
        assert len(model.feature_info) == 5
    same = timm.create_model('mobilenetv2_100', pad_type='same')
    assert same.conv_stem(torch.zeros(1, 3, 65, 65)).shape[-1] == 33


def test_feature_maps():
    nodes, _ = get_graph_node_names(get_model('mobilenet_v2'))
    assert 'features.14.conv.0' in nodes  # inside a block
    for backbone in (DetMobileNetV2, SegMobileNetV2):
        assert all(isinstance(i, int) for i in parameters(backbone)['out_indices'].default)


def test_torchvisions_mobile_heads_are_those_of_mobilenet_v3():
    heads = [name for module in (detection, segmentation) for name in list_models(module)]
    assert 'ssdlite320_mobilenet_v3_large' in heads
    assert not any('mobilenet_v2' in name for name in heads)
    options = dict(weights=None, weights_backbone=None, num_classes=21)
    assert num_params(get_model('deeplabv3_mobilenet_v3_large', **options)) == 11_025_477
    assert num_params(get_model('lraspp_mobilenet_v3_large', **options)) == 3_221_538


def test_mmdets_ssdlite_fails_at_validation():
    model = stock_config('mmdet', MMDET_CONFIG).model
    config = model.bbox_head
    head = MODELS.build(config)
    maps = [torch.zeros(1, channels, 2, 2) for channels in config.in_channels]
    with pytest.raises(AttributeError, match='loss_cls'):
        head.predict_by_feat(
            *head(maps), batch_img_metas=[dict(img_shape=(64, 64))], cfg=model.test_cfg
        )


def test_mmdet_ends_a_run_that_is_not_finite_and_mmseg_does_not():
    hooks = {
        package: str(stock_config(package, name).get('custom_hooks'))
        for package, name in (('mmdet', MMDET_CONFIG), ('mmseg', MMSEG_CONFIG))
    }
    assert 'CheckInvalidLossHook' in hooks['mmdet']
    assert 'CheckInvalidLossHook' not in hooks['mmseg']


def test_torchvision_ends_at_a_box_without_area():
    model = get_model(
        'ssdlite320_mobilenet_v3_large', weights=None, weights_backbone=None, num_classes=3
    ).train()
    target = dict(boxes=torch.tensor([[5.0, 5.0, 5.0, 9.0]]), labels=torch.tensor([1]))
    with pytest.raises(AssertionError, match='positive height and width'):
        model([torch.rand(3, 64, 64)], [target])


def test_a_checkpoint_of_another_model_gets_a_line_in_the_log(tmp_path, caplog):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=dict(nothing=torch.zeros(1))), path)
    logger = logging.getLogger('feature table')
    with caplog.at_level(logging.WARNING, logger.name):
        load_checkpoint(nn.Linear(1, 1), str(path), logger=logger)
    assert 'do not match exactly' in caplog.text
    for refuse in (get_model('mobilenet_v2'), timm.create_model('mobilenetv2_100')):
        with pytest.raises(RuntimeError, match='Missing key'):
            refuse.load_state_dict(dict(nothing=torch.zeros(1)))


def test_mmdet_reads_stage_maps_and_mmdets_priors_are_not_the_papers():
    config = stock_config('mmdet', MMDET_CONFIG)
    assert config.model.backbone.out_indices == (4, 7)
    assert config.model.neck.in_channels[0] == 96  # the paper's map has 576 channels
