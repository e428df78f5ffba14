"""From a batch on the device to new weights, a step never waits for the device."""

from unittest.mock import MagicMock

import pytest
import torch
from helpers.paths import ROOT
from helpers.waiting import waits
from measure.speed.inputs import training_batch
from measure.speed.models import build_optimizer, build_random, class_counts, set_size

from mbv2_backbone.workbench.configs.machine import (
    DeferredRuntimeInfoHook,
    detect_machine,
    fit_machine,
)
from mbv2_backbone.workbench.configs.read import load_config, task_of

CONFIGS = ROOT / 'configs'


def build_step(name):
    """Return a step for a batch on the device: forward, targets, losses, backward, optimizer."""
    cfg = load_config(str(CONFIGS / f'{name}.py'), None)
    cfg = fit_machine(detect_machine()).change(cfg)
    set_size(cfg, (64, 64))
    model = build_random(cfg).train()
    optimizer = build_optimizer(model, cfg)
    num_classes, num_seg_classes = class_counts(cfg)
    batch = training_batch(
        batch_size=2,
        size=(64, 64),
        num_classes=num_classes,
        num_seg_classes=num_seg_classes,
        task=task_of(cfg),
    )
    prepared = model.data_preprocessor(batch, True)
    model.data_preprocessor.forward = lambda data, training: prepared
    return lambda: model.train_step(batch, optimizer)


@pytest.mark.parametrize(
    'name',
    [
        'ssdlite_mbv2_coco',
        'ssdlite_mbv2_coco_plus',
        'deeplabv3_mbv2_sample',
        'ssdlite-deeplabv3_mbv2_sample',
    ],
)
def test_a_training_step_does_not_wait(name):
    step = build_step(name)
    runner = MagicMock(hooks=[], iter=0, max_iters=100)
    runner.train_dataloader.__len__.return_value = 100
    hook = DeferredRuntimeInfoHook()
    hook.before_train(runner)
    step()  # priors and the optimizer's state are created once
    with waits() as found:
        losses = step()
        hook.after_train_iter(runner, 0, outputs=losses)
    assert 'loss' in losses
    assert found == []


@pytest.mark.parametrize(
    'wait',
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.masked_fill_(x > 0, 1).nonzero(),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: x.tolist(),
        lambda x: x.index_put_((x > 0,), torch.zeros(())),
    ],
)
def test_what_waits_is_found(wait):
    x = torch.ones(3)
    with waits() as found:
        wait(x)
    assert len(found) == 1
