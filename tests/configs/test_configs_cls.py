"""The classification configs build, and take their classes from the list or from the folders."""

import glob
import os.path as osp
from pathlib import Path

import pytest
import torch
from helpers.class_data import COLOURS, write_classes
from helpers.networks import num_params
from helpers.paths import ROOT, config_path
from mmengine.registry import MODELS

from mbv2_backbone.workbench.configs.read import datasets_of, load_config, task_of
from mbv2_backbone.workbench.configs.summary import summarise

ALL = sorted(glob.glob(str(ROOT / 'configs' / 'mobilenetv2_*.py')))


@pytest.mark.parametrize('path', ALL, ids=map(osp.basename, ALL))
def test_a_config_builds_and_its_parts_fit(path):
    cfg = load_config(path)
    assert task_of(cfg) == 'cls'
    model = MODELS.build(cfg.model).eval()
    assert model.backbone.layers[-1] == 'conv2'
    assert model.head.fc.in_features == model.backbone.feature_info[-1].channels
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, model.head.num_classes)
    for dataset in summarise(cfg).of(('train', 'val', 'test')):
        classes = dataset.metainfo.get('classes')
        assert classes is None or len(classes) == model.head.num_classes
    header = Path(path).read_text().split('_base_')[0]
    assert 'tools/train.py' in header
    assert 'ublished' in header


def test_imagenets_config_has_the_papers_size_and_torchvisions_names():
    cfg = load_config(config_path('mobilenetv2_in1k'))
    assert num_params(MODELS.build(cfg.model)) == 3_504_872
    assert summarise(cfg).image_classes().names[281:283] == ('tabby', 'tiger cat')
    assert summarise(cfg).box_classes().names == summarise(cfg).mask_classes().names == ()


def test_folders_name_the_classes(tmp_path):
    root = write_classes(tmp_path, splits=('train',))
    cfg = load_config(config_path('mobilenetv2_folders'), [f'data_root={root}'])
    assert cfg.classes == tuple(COLOURS)
    assert cfg.model.head.num_classes == 3
    assert {d.metainfo.classes for d in datasets_of(cfg)} == {tuple(COLOURS)}
    options = [f'data_root={root}', 'classes=("red","blue","green")']
    assert load_config(config_path('mobilenetv2_folders'), options).classes[0] == 'red'


def test_without_folders_there_is_no_class_yet(tmp_path):
    cfg = load_config(config_path('mobilenetv2_folders'), [f'data_root={tmp_path}'])
    assert cfg.classes is None
    assert cfg.model.head.num_classes == 1000
