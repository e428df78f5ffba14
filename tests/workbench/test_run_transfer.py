"""One backbone, three tasks: one task starts from another's backbone."""

from pathlib import Path

import pytest
import torch
from helpers.paths import ROOT
from mmengine.registry import MODELS

from mbv2_backbone.weights.whole_model import read_state_dict
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.run import train

CONFIGS = ROOT / 'configs'
DETECTOR = str(CONFIGS / 'ssdlite_mbv2_sample.py')
SEGMENTOR = str(CONFIGS / 'deeplabv3_mbv2_sample.py')
DETECTION = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=5',
             'default_hooks.checkpoint.interval=1']  # fmt: skip
CLASSIFIER = str(CONFIGS / 'mobilenetv2_sample.py')
CLASSIFICATION = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=6']
STARTED = f"""
_base_ = {CLASSIFIER!r}
model = dict(backbone=dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='',
    strict=False)))
"""
SEGMENTATION = ['train_cfg.max_iters=3', 'train_cfg.val_interval=5',
                'default_hooks.checkpoint.interval=3']  # fmt: skip


def start_from(config, checkpoint):
    """Build a config's model as a run does at its start, with the backbone of another run."""
    cfg = load_config(config, [f'model.backbone.init_cfg.checkpoint={checkpoint}'])
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def trained(config, options, work_dir, sample_dataset):
    root = sample_dataset / 'sample_crops' if CLASSIFICATION[1] in options else sample_dataset
    train(config, work_dir=str(work_dir), cfg_options=[f'data_root={root}/', *options])
    return Path((work_dir / 'last_checkpoint').read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ('first', 'first_options', 'second', 'second_options', 'random'),
    [
        (DETECTOR, DETECTION, 'deeplabv3_mbv2_sample_from-ssdlite', SEGMENTATION, ()),
        (SEGMENTOR, SEGMENTATION, 'ssdlite_mbv2_sample_from-deeplabv3', DETECTION, ('conv2.',)),
        (CLASSIFIER, CLASSIFICATION, 'deeplabv3_mbv2_sample_from-ssdlite', SEGMENTATION, ()),
        (CLASSIFIER, CLASSIFICATION, 'ssdlite_mbv2_sample_from-deeplabv3', DETECTION, ()),
        (DETECTOR, DETECTION, None, CLASSIFICATION, ()),
        (SEGMENTOR, SEGMENTATION, None, CLASSIFICATION, ('conv2.',)),
    ],
    ids=['det to seg', 'seg to det', 'cls to seg', 'cls to det', 'det to cls', 'seg to cls'],
)
def test_a_backbone_of_one_task_is_pretrained_for_the_other(
    first, first_options, second, second_options, random, sample_dataset, tmp_path
):
    checkpoint = trained(first, first_options, tmp_path / 'first', sample_dataset)
    saved = read_state_dict(str(checkpoint))
    config = str(CONFIGS / f'{second}.py')
    if second is None:
        config = str(tmp_path / 'classifier.py')
        Path(config).write_text(STARTED)
    backbone = start_from(config, checkpoint).backbone
    own = backbone.state_dict()
    for name, value in own.items():
        if not name.startswith(random):
            assert torch.equal(value, saved[f'backbone.{name}']), name
    assert any(name.startswith(random) for name in own) == bool(random)
    options = [*second_options, f'model.backbone.init_cfg.checkpoint={checkpoint}']
    assert trained(config, options, tmp_path / 'second', sample_dataset).exists()
