"""The backbone inside mmpretrain's `ImageClassifier`, and its checkpoints in ours.

mmpretrain is no dependency; docs/backbone.md says how to install it. Skipped where it is missing.
"""

import importlib.util
import re

import pytest
import torch
from helpers.class_data import write_classes
from helpers.networks import images, randomise
from helpers.paths import ROOT, config_path
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.weights.whole_model import load_weights, read_state_dict
from mbv2_backbone.workbench.configs.read import load_config

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('mmpretrain') is None, reason='mmpretrain is not installed'
)
PAGE = (ROOT / 'docs/backbone.md').read_text()
SMALL = """
model['backbone']['widen_factor'] = 0.35
model['head'] = dict(num_classes=3, topk=(1,))
views = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)),
         dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=6, num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, type='CustomDataset', data_prefix='ROOT/train', pipeline=views))
val_dataloader = dict(
    batch_size=6, num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, type='CustomDataset', data_prefix='ROOT/val', pipeline=views))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
work_dir = 'ROOT/work'
"""


@pytest.fixture(autouse=True)
def scope():
    yield init_default_scope('mmpretrain')
    init_default_scope('mmengine')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The config of the page, trained an epoch by mmengine's runner on three colours."""
    root = write_classes(tmp_path_factory.mktemp('pretrain') / 'data')
    text = re.search(r'### mmpretrain.*?```python\n(.*?)```', PAGE, re.S)[1]
    path = root / 'page.py'
    path.write_text(text + SMALL.replace('ROOT', str(root)))
    runner = Runner.from_cfg(Config.fromfile(path))
    before = runner.model.backbone.conv1.conv.weight.clone()
    runner.train()
    return runner, before, root


def test_the_config_of_the_page_trains_and_tests(trained):
    runner, before, _ = trained
    assert isinstance(runner.model.backbone, MobileNetV2Backbone)
    assert type(runner.model).__module__.startswith('mmpretrain.')
    assert not torch.equal(before, runner.model.backbone.conv1.conv.weight)
    metrics = runner.test()
    assert 0 <= metrics['accuracy/top1'] <= 100


def test_what_it_saves_loads_into_our_classifier_with_its_head(trained):
    runner, _, root = trained
    path = root / 'work/epoch_1.pth'
    options = ['model.backbone.widen_factor=0.35', 'classes=("blue","green","red")']
    ours = MODELS.build(load_config(config_path('mobilenetv2_folders'), options).model)
    load_weights(ours, str(path))
    saved = read_state_dict(str(path))
    assert all(torch.equal(value, saved[name]) for name, value in ours.state_dict().items())
    x = images(2, 3, 64, 64)
    model = runner.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), model.head(model.extract_feat(x)))


@torch.no_grad()
@pytest.mark.parametrize('widen_factor', [0.5, 1.0])
def test_its_own_mobilenetv2_loads_into_ours_and_gives_the_same_logits(widen_factor, tmp_path):
    from mmpretrain.registry import MODELS as THEIRS

    theirs = THEIRS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='MobileNetV2', widen_factor=widen_factor),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=1280),
        )
    )
    theirs = randomise(theirs).eval()
    torch.save(dict(state_dict=theirs.state_dict()), tmp_path / 'theirs.pth')
    options = [f'model.backbone.widen_factor={widen_factor}', 'model.head.num_classes=5']
    ours = MODELS.build(load_config(config_path('mobilenetv2_in1k'), options).model).eval()
    load_weights(ours, str(tmp_path / 'theirs.pth'))
    x = images(2, 3, 96, 96)
    torch.testing.assert_close(ours(x), theirs.head(theirs.extract_feat(x)), rtol=1e-4, atol=1e-5)
