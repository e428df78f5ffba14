"""The loss of every config on a GPU without one: devices are not mixed, and nothing waits for it.

Torch's `FakeTensorMode` makes tensors of device `cuda` that have a shape and no values. Mixing
devices raises there, and so does what needs a value on the host: `.item()`, `nonzero`, `if` on a
tensor, a mask as an index. The backward pass needs a real device (torch 2.15).
"""

import glob
import os.path as osp
from contextlib import nullcontext

import pytest
import torch
from helpers.paths import ROOT
from measure.speed.training import random_batch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from mbv2_backbone.workbench.configs.read import load_config, task_of

CONFIGS = sorted(glob.glob(osp.join(str(ROOT), 'configs', '*.py')))


def to_cuda(value, mode):
    """Move a tensor, a model, or what a data sample holds to a GPU that is not there."""
    if isinstance(value, torch.Tensor):
        return mode.from_tensor(value).to('cuda')
    if isinstance(value, nn.Module):
        for module in value.modules():
            for name, param in module._parameters.items():
                if param is not None:
                    moved = nn.Parameter(to_cuda(param.data, mode), param.requires_grad)
                    module._parameters[name] = moved
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = to_cuda(buffer, mode)
        return value
    for sample in value:
        for part in (sample, *sample.values()):
            for name, field in part.items() if isinstance(part, BaseDataElement) else ():
                if hasattr(field, 'tensor'):  # mmdet's boxes
                    field.tensor = to_cuda(field.tensor, mode)
                elif isinstance(field, torch.Tensor):
                    part.set_field(to_cuda(field, mode), name)
    return value


def batch_of(cfg):
    """Return images and samples of a training step."""
    task = task_of(cfg)
    if task == 'cls':
        samples = [BaseDataElement(gt_label=torch.tensor(i)) for i in range(2)]
        return dict(inputs=list(torch.zeros(2, 3, 64, 64).byte()), data_samples=samples)
    return random_batch(cfg, task, 2, (65, 65) if task == 'seg' else (64, 64))


def losses_on_cuda(cfg, *, amp):
    """Return the losses of a training step, with the model and its batch on a GPU."""
    model = MODELS.build(cfg.model).train()
    batch = model.data_preprocessor(batch_of(cfg), True)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model, inputs, samples = (
            to_cuda(value, mode) for value in (model, batch['inputs'], batch['data_samples'])
        )
        with torch.autocast('cuda', torch.bfloat16, enabled=amp):
            losses = model(inputs, samples, mode='loss')
            total, _ = model.parse_losses(losses)
    assert any('loss' in name for name in losses)
    return total


@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'bfloat16'])
@pytest.mark.parametrize('path', CONFIGS, ids=map(osp.basename, CONFIGS))
def test_the_loss_stays_on_the_device(path, amp):
    total = losses_on_cuda(load_config(path), amp=amp)
    assert total.device.type == 'cuda'
    assert total.requires_grad


@pytest.mark.parametrize('path', CONFIGS, ids=map(osp.basename, CONFIGS))
def test_only_the_boxes_of_a_prediction_wait(path):
    """A detector first waits for its number of candidates; tests/det has all of its waits."""
    cfg = load_config(path)
    model = MODELS.build(cfg.model).eval()
    batch = model.data_preprocessor(batch_of(cfg), False)
    has_boxes = task_of(cfg) in ('det', 'joint')
    waits = pytest.raises(DynamicOutputShapeException) if has_boxes else nullcontext()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad(), waits as found:
        model, inputs, samples = (
            to_cuda(value, mode) for value in (model, batch['inputs'], batch['data_samples'])
        )
        model(inputs, samples, mode='predict')
    if has_boxes:
        assert 'select_candidates' in [entry.name for entry in found.traceback]


@pytest.mark.parametrize(
    ('spoil', 'error'),
    [
        (lambda loss: loss * loss.item(), DataDependentOutputException),
        (lambda loss: loss if loss > 0 else -loss, DataDependentOutputException),
        (lambda loss: loss + torch.ones(3, device='cpu'), RuntimeError),
    ],
    ids=['item', 'if', 'devices'],
)
def test_a_loss_that_waits_or_mixes_devices_is_found(monkeypatch, spoil, error):
    from mbv2_backbone.seg import losses

    sound = losses.pixel_cross_entropy
    monkeypatch.setattr(losses, 'pixel_cross_entropy', lambda *a, **k: spoil(sound(*a, **k)))
    path = next(path for path in CONFIGS if path.endswith('deeplabv3_mbv2_sample.py'))
    with pytest.raises(error):
        losses_on_cuda(load_config(path), amp=False)
