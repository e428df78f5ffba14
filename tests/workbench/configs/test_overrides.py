"""A misspelt key of --cfg-options is refused: as a new setting it would silently do nothing."""

import pytest
from helpers.paths import ROOT
from helpers.small import tool
from mmengine.config import Config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.overrides import parse_overrides
from mbv2_backbone.workbench.configs.read import load_config

SAMPLE = str(ROOT / 'configs' / 'ssdlite_mbv2_sample.py')


@pytest.mark.parametrize(
    ('given', 'meant'),
    [
        ('train_dataloder.batch_size=4', 'train_dataloader.batch_size'),
        ('trian_cfg.max_epochs=1', 'train_cfg.max_epochs'),
        ('train_cfg.max_epoch=1', 'train_cfg.max_epochs'),
        ('model.bbox_head.num_clases=1', 'model.bbox_head.num_classes'),
        ('param_scheduler.1.eta_minimum=0', None),
        ('param_scheduler.1.T_maxx=3', 'param_scheduler.1.T_max'),
        ('randomnes.seed=1', 'randomness.seed'),
    ],
)
def test_a_key_that_is_almost_a_setting_is_refused(given, meant):
    cfg = Config.fromfile(SAMPLE)
    if meant is None:
        assert list(parse_overrides(cfg, [given])) == [given.partition('=')[0]]
        return
    with pytest.raises(UserError, match=f'did you mean {meant}\\?'):
        parse_overrides(cfg, [given])


@pytest.mark.parametrize(
    'given',
    [
        'randomness.seed=1', 'find_unused_parameters=True', 'load_from=x.pth', 'compile=True',
        'classes=(a,b)', 'train_dataloader.dataset.indices=5', 'model.backbone.with_cp=True',
        'model.backbone.norm_eval=True', 'auto_scale_lr.enable=True', 'val_dataloader.drop_last=1',
        'optim_wrapper.accumulative_counts=2', 'custom_hooks.0.priority=LOW', 'own.thing=1',
    ],
)  # fmt: skip
def test_new_settings_are_taken(given):
    cfg = Config.fromfile(SAMPLE)
    assert list(parse_overrides(cfg, [given])) == [given.partition('=')[0]]


def test_a_length_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="max_epochs must be a whole number, got 'x'"):
        load_config(SAMPLE, ['train_cfg.max_epochs=x'])


def test_an_argument_that_a_class_does_not_have_is_one_message(sample_dataset, tmp_path):
    result = tool(
        'train', SAMPLE, '--work-dir', tmp_path, '--cfg-options', f'data_root={sample_dataset}/',
        'optim_wrapper.optimizer.lrr=4',
    )  # fmt: skip
    assert result.returncode == 2
    assert 'Traceback' not in result.stderr
    said = result.stderr.splitlines()[-1]
    assert said == 'error: --cfg-options optim_wrapper.optimizer.lrr: AdamW has no argument lrr'
