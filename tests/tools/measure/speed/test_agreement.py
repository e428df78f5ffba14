"""Losses on the CPU and on the device."""

import pytest
import torch
from helpers.bench import SIZE, arguments, config
from measure.speed import agreement
from measure.speed.agreement import loss_rows
from measure.speed.work import WORK

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import detect_machine

JOINT = 'ssdlite-deeplabv3-classifier_mbv2_sample'


@pytest.mark.parametrize('name', ['ssdlite_mbv2_sample', 'deeplabv3_mbv2_sample', JOINT])
def test_losses_agree(name):
    (result,) = WORK['losses'](arguments('losses', name))
    first, same, half = result['rows']
    assert first['difference'] == 0
    assert same['difference'] < 1e-3
    assert 0 < half['difference'] < 0.05
    assert half['name'].endswith('bfloat16')


def test_losses_that_differ_are_an_error(monkeypatch):
    sound = agreement._losses

    def spoilt(model, batch, machine):
        factor = 1.01 if machine.channels_last else 1
        return {name: value * factor for name, value in sound(model, batch, machine).items()}

    monkeypatch.setattr(agreement, '_losses', spoilt)
    with pytest.raises(UserError, match=r'float32 differ from those on the CPU by 0\.01'):
        loss_rows(config('ssdlite_mbv2_sample'), detect_machine(), batch_size=2, size=SIZE)
    assert torch.backends.cudnn.allow_tf32
