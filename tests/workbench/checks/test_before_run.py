"""A model that does not fit the data stops a run before its first step."""

import pytest
import torch
from helpers.paths import ROOT

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.checks.before_run import (
    check_before_run,
    check_classes,
    check_evaluators,
)
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.run import evaluate

DETECTION = 'ssdlite_mbv2_sample'
SEGMENTATION = 'deeplabv3_mbv2_sample'
JOINT = 'ssdlite-deeplabv3_mbv2_sample'


def _sample(name):
    cfg = load_config(str(ROOT / 'configs' / f'{name}.py'))
    return cfg, summarise(cfg)


@pytest.mark.parametrize(
    ('name', 'head', 'key'),
    [
        (DETECTION, 'bbox_head', 'classes'),
        (SEGMENTATION, 'decode_head', 'classes'),
        (JOINT, 'bbox_head', 'classes'),
        (JOINT, 'decode_head', 'seg_classes'),
    ],
)
def test_each_head_is_checked_against_its_own_classes(name, head, key):
    cfg, summary = _sample(name)
    check_classes(cfg, summary, ('train', 'test'))
    cfg.model[head].num_classes = 7
    with pytest.raises(UserError, match=rf'predicts 7 classes.*put one `{key} = '):
        check_classes(cfg, summary, ('train', 'test'))


def test_the_model_is_checked_before_a_wrapper_hides_it(sample_dataset, tmp_path):
    checkpoint = tmp_path / 'model.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(1))), checkpoint)
    with pytest.raises(UserError, match=r'must be the same everywhere.*seg_pad_val=7'):
        evaluate(
            str(ROOT / 'configs' / f'{SEGMENTATION}.py'),
            str(checkpoint),
            work_dir=str(tmp_path),
            tta=True,
            cfg_options=[f'data_root={sample_dataset}/', 'model.data_preprocessor.seg_pad_val=7'],
        )


@pytest.mark.parametrize('split', ['val', 'test'])
def test_a_file_of_an_evaluator_that_is_missing_is_named(sample_dataset, tmp_path, split):
    # mmdet 3.3's CocoMetric opens it when the runner is built: FileNotFoundError.
    options = [f'data_root={sample_dataset}/']
    cfg = load_config(str(ROOT / 'configs' / f'{DETECTION}.py'), options)
    check_evaluators(cfg, summarise(cfg), ('train', 'val', 'test'))
    cfg[f'{split}_evaluator'].ann_file = str(tmp_path / 'none.json')
    with pytest.raises(
        UserError, match=rf'{split}_evaluator\.ann_file=.*none\.json does not exist'
    ):
        check_before_run(cfg, summarise(cfg), ('train', split))
