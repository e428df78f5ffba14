"""Configs of mmdet 2.x, and configs without a training, are refused before anything is built.

The settings are those of mmdet 2.28's ssd300_coco.py and mmseg 0.30's schedule_40k.py.
"""

import pytest
from helpers.paths import ROOT
from helpers.small import tool

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.run import evaluate, train

MODEL = "model = dict(type='SingleStageDetector', pretrained='open-mmlab://vgg16_caffe')\n"
DATA = "data = dict(samples_per_gpu=8, train=dict(type='CocoDataset', ann_file='a.json'))\n"
SCHEDULE = """
optimizer = dict(type='SGD', lr=0.002)
lr_config = dict(policy='step', step=[16, 22])
runner = dict(type='EpochBasedRunner', max_epochs=24)
"""
RUNTIME = 'evaluation = dict(interval=1)\ncheckpoint_config = dict(interval=1)\n'


@pytest.mark.parametrize(
    ('text', 'now'),
    [
        (DATA, 'data -> train_dataloader'),
        (SCHEDULE, 'lr_config -> param_scheduler; runner -> train_cfg'),
        (RUNTIME, 'evaluation -> val_evaluator, train_cfg; checkpoint_config -> default_hooks'),
        (DATA + 'total_epochs = 24\n', 'total_epochs -> train_cfg'),
    ],
)
def test_a_config_of_mmdet_2_says_what_became_of_its_settings(tmp_path, text, now):
    path = tmp_path / 'ssd300.py'
    path.write_text(MODEL + text)
    with pytest.raises(UserError, match=r'ssd300\.py is a config of mmdet 2\.x') as refused:
        load_config(str(path))
    assert now in str(refused.value)


def test_every_tool_ends_without_a_traceback(tmp_path):
    path = tmp_path / 'ssd300.py'
    path.write_text(MODEL + DATA + SCHEDULE + RUNTIME)
    export = ('export', 'x.pth', '--to', 'onnx')
    for name, *args in (('train', '--explain'), ('test', 'x.pth'), export):
        result = tool(name, path, *args)
        assert result.returncode == 2
        assert 'Traceback' not in result.stderr
        assert 'mmdet 2.x' in result.stderr


def test_settings_of_mmdet_2_in_a_current_config_are_named(tmp_path):
    # mmseg 1.2's mobilenet-v3 configs still have such a `runner`.
    path = tmp_path / 'mine.py'
    path.write_text(f'_base_ = {str(ROOT / "configs/ssdlite_mbv2_sample.py")!r}\n{SCHEDULE}')
    notes = []
    load_config(str(path), note=notes.append)
    (note,) = notes
    assert 'have no effect; they are now: lr_config -> param_scheduler; runner -> train_cfg' in note


@pytest.mark.parametrize('explain', [False, True])
def test_what_a_config_lacks_is_named(tmp_path, explain):
    path = tmp_path / 'model.py'
    path.write_text(f'_base_ = {str(ROOT / "configs/_base_/deeplabv3_mbv2.py")!r}\n')
    with pytest.raises(UserError, match=r'model\.py lacks train_dataloader, train_cfg, optim_wr'):
        train(str(path), work_dir=str(tmp_path), explain=explain)
    with pytest.raises(UserError, match=r'model\.py lacks test_dataloader, test_cfg, test_ev'):
        evaluate(str(path), 'x.pth', work_dir=str(tmp_path), explain=explain)


def test_a_half_of_the_validation_is_refused_and_none_is_not():
    path = str(ROOT / 'configs/ssdlite_mbv2_sample.py')
    with pytest.raises(UserError, match='lacks val_evaluator, without which there is no validat'):
        train(path, cfg_options=['val_evaluator=None'], explain=True)
    whole = ['val_dataloader=None', 'val_cfg=None', 'val_evaluator=None']
    train(path, cfg_options=whole, explain=True)
