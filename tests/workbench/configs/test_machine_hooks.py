"""Losses reach the log as with mmengine's own hook, without a device read in every step."""

import pytest
import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mbv2_backbone.workbench.configs.machine import DeferredRuntimeInfoHook


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x, mode):
        loss = self.layer(torch.stack(x)).square().mean()
        return dict(loss_a=loss, acc=loss.detach().reshape(1) * 2 + 1)


def history(hook_type, tmp_path, num_images, by_epoch):
    torch.manual_seed(0)
    loop = dict(by_epoch=True, max_epochs=2) if by_epoch else dict(by_epoch=False, max_iters=9)
    runner = Runner(
        model=Toy(),
        work_dir=str(tmp_path / hook_type.__name__),
        train_dataloader=dict(
            dataset=[dict(x=torch.tensor([float(i)])) for i in range(num_images)],
            batch_size=1,
            sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=False),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        train_cfg=loop,
        default_hooks=dict(
            runtime_info=dict(type=hook_type), logger=dict(type=LoggerHook, interval=3)
        ),
        experiment_name=f'{hook_type.__name__}{tmp_path.name}',
        log_level='ERROR',
    )
    runner.train()
    scalars = runner.message_hub.log_scalars
    return {name: scalars[f'train/{name}'].data for name in ('loss', 'loss_a', 'acc')}


@pytest.mark.parametrize(('num_images', 'by_epoch'), [(7, True), (2, True), (20, False)])
def test_the_history_equals_that_of_mmengines_hook(tmp_path, num_images, by_epoch):
    ours = history(DeferredRuntimeInfoHook, tmp_path, num_images, by_epoch)
    theirs = history(RuntimeInfoHook, tmp_path, num_images, by_epoch)
    for name, (values, counts) in theirs.items():
        assert ours[name][0] == pytest.approx(values, rel=1e-6)
        assert ours[name][1].tolist() == counts.tolist()


def test_losses_are_read_once_per_log_line(tmp_path, monkeypatch):
    reads = []
    flush = DeferredRuntimeInfoHook._flush
    monkeypatch.setattr(
        DeferredRuntimeInfoHook,
        '_flush',
        lambda self, runner: (reads.append(len(self._pending)), flush(self, runner)),
    )
    history(DeferredRuntimeInfoHook, tmp_path, 20, by_epoch=False)
    assert reads == [9, 9, 9]
