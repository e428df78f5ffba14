"""Batches on their way to a GPU: pinned, and copied without waiting."""

from dataclasses import replace

import pytest
import torch
from helpers.bench import SIZE, config
from measure.speed.models import build_random
from measure.speed.training import random_batch

from mbv2_backbone.workbench.configs.machine import detect_machine, fit_machine, overlap_copies
from mbv2_backbone.workbench.configs.read import task_of

NAMES = ['ssdlite_mbv2_coco', 'deeplabv3_mbv2_sample', 'ssdlite-deeplabv3_mbv2_sample']


@pytest.mark.parametrize('device', ['cuda', 'cpu'])
@pytest.mark.parametrize('name', NAMES)
def test_only_for_a_gpu_no_copy_waits(name, device, monkeypatch):
    cfg, machine = config(name), replace(detect_machine(), device=device)
    model = build_random(cfg)
    overlap_copies(model, machine)
    batch = random_batch(cfg, task_of(cfg), 2, SIZE)
    copies, to = [], torch.Tensor.to

    def spy(tensor, *args, **kwargs):
        if any(isinstance(arg, torch.device) for arg in args):
            copies.append(kwargs.get('non_blocking', False))
        return to(tensor, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, 'to', spy)
        model.data_preprocessor(batch, True)
    assert len(copies) >= 4  # two images, and what two samples hold
    assert set(copies) == {device == 'cuda'}


@pytest.mark.parametrize(('device', 'pinned'), [('cuda', True), ('cpu', None)])
def test_only_for_a_gpu_memory_is_pinned(device, pinned):
    cfg = fit_machine(replace(detect_machine(), device=device)).change(config(NAMES[0]))
    loaders = [cfg[f'{split}_dataloader'] for split in ('train', 'val', 'test')]
    assert [loader.get('pin_memory') for loader in loaders] == [pinned] * 3
    chosen = config(NAMES[0], 'train_dataloader.pin_memory=False')
    machine = replace(detect_machine(), device=device)
    assert not fit_machine(machine).change(chosen).train_dataloader.pin_memory
