"""The segmentation and joint configs build, their parts fit, and one override changes them."""

import glob
import os.path as osp
from pathlib import Path

import pytest
import torch
from helpers.networks import num_params
from helpers.paths import ROOT, config_path
from mmengine.analysis import get_model_complexity_info
from mmengine.registry import MODELS

from mbv2_backbone.workbench.configs.machine import Machine, fit_machine
from mbv2_backbone.workbench.configs.read import datasets_of, load_config, task_of

CONFIGS = str(ROOT / 'configs')
ALL = sorted(
    path
    for path in glob.glob(osp.join(CONFIGS, '*deeplabv3*.py'))
    if not path.endswith('_from-deeplabv3.py')  # a detector
)


@pytest.mark.parametrize('path', ALL, ids=map(osp.basename, ALL))
def test_a_config_builds_and_its_parts_fit(path):
    cfg = load_config(path)
    model = MODELS.build(cfg.model).eval()
    head, info = model.decode_head, model.backbone.feature_info
    assert head.in_channels == info[head.in_index].channels
    assert head.output_stride == info[head.in_index].stride == cfg.model.backbone.output_stride
    size = cfg.model.data_preprocessor.get('size', (128, 128))
    with torch.no_grad():
        outputs = model(torch.zeros(1, 3, *size), mode='tensor')
    logits = outputs[2] if task_of(cfg) == 'joint' else outputs
    cells = [-(-side // 4) for side in size] if 'Plus' in type(head).__name__ else None
    assert list(logits.shape[2:]) == (cells or [-(-side // head.output_stride) for side in size])
    key = 'seg_classes' if task_of(cfg) == 'joint' else 'classes'
    for dataset in datasets_of(cfg):
        classes = dataset.get('metainfo', {}).get(key)
        assert classes is None or len(classes) == head.num_classes == logits.shape[1]
        assert not dataset.get('reduce_zero_label', False)
    header = Path(path).read_text().split('_base_')[0]
    assert 'tools/train.py' in header
    assert 'ublished' in header


@pytest.mark.parametrize(
    ('name', 'rates'),
    [('deeplabv3_mbv2_voc12aug', []), ('deeplabv3-aspp_mbv2_voc12aug', [12, 24, 36])],
)
def test_one_override_evaluates_a_checkpoint_at_output_stride_8(name, rates):
    at_16 = MODELS.build(load_config(config_path(name)).model)
    options = ['model.backbone.output_stride=8']
    at_8 = MODELS.build(load_config(config_path(name), options).model).eval()
    at_8.load_state_dict(at_16.state_dict())
    branches = list(at_8.decode_head.aspp_modules)[1:]
    assert [branch.conv.dilation[0] for branch in branches] == rates
    with torch.no_grad():
        assert at_8(torch.zeros(1, 3, 65, 65), mode='tensor').shape == (1, 21, 9, 9)


@pytest.mark.parametrize(('side', 'billions'), [(512, 0.87), (513, 0.91)])
def test_depth_05_has_the_published_size(side, billions):
    """Published are 0.88 B, between these as the paper's 2.75 B at depth 1 is between ours."""
    options = ['model.backbone.output_stride=16', 'model.decode_head.output_stride=16']
    model = MODELS.build(load_config(config_path('deeplabv3_mbv2_voc12_tf-dm05'), options).model)
    model.forward = model._forward
    shape = (3, side, side)
    counted = get_model_complexity_info(model.eval(), shape, show_table=False, show_arch=False)
    assert round(counted['flops'] / 1e9, 2) == billions
    assert num_params(model) == 697_013


def test_synchronised_norms_are_only_for_several_gpus():
    cfg = load_config(config_path('deeplabv3_mbv2_voc12aug'))
    assert cfg.sync_bn == 'torch'  # mmengine uses it only in distributed runs
    assert 'SyncBN' not in str(cfg.model)
    machine = dict(precision='float32', channels_last=True, num_processes=2, max_workers=0)
    cfg = fit_machine(Machine(device='cuda', backend='nccl', **machine)).change(cfg)
    assert cfg.sync_bn == 'torch'
    cfg = fit_machine(Machine(device='cpu', backend='gloo', **machine)).change(cfg)
    assert 'sync_bn' not in cfg


def test_the_classes_of_a_joint_config_set_both_heads():
    name = 'ssdlite-deeplabv3_mbv2_sample'
    cfg = load_config(config_path(name), ['classes=("cat","dog")'])
    assert (cfg.model.bbox_head.num_classes, cfg.model.decode_head.num_classes) == (2, 3)
    for dataset in datasets_of(cfg):
        assert tuple(dataset.metainfo.seg_classes) == ('background', 'cat', 'dog')
    cfg = load_config(config_path(name), ['classes=("cat","dog")', 'seg_classes=("grass","sky")'])
    assert (cfg.model.bbox_head.num_classes, cfg.model.decode_head.num_classes) == (2, 2)
    assert tuple(datasets_of(cfg)[0].metainfo.seg_classes) == ('grass', 'sky')
