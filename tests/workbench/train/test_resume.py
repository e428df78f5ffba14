"""A stopped or killed run, once resumed, ends with the weights of an uninterrupted one."""

import signal
import subprocess
from dataclasses import replace

import pytest
import torch
from helpers.resume import (
    ToyDataset,
    assert_same,
    environment,
    final_checkpoint,
    states,
    toy_config,
    train_command,
    train_toy,
    write_config,
)
from mmengine.optim import OptimWrapper

from mbv2_backbone.weights.whole_model import newest_resumable
from mbv2_backbone.workbench import run
from mbv2_backbone.workbench.configs import machine
from mbv2_backbone.workbench.train.resume import lay_out_state
from mbv2_backbone.workbench.train.robust import make_robust

ACCUMULATE = dict(optim_wrapper=dict(accumulative_counts=3))
BF16 = dict(optim_wrapper=dict(type='Bf16OptimWrapper'))
WORKERS = dict(train_dataloader=dict(num_workers=2, persistent_workers=True))
FINITE_SAMPLER = dict(train_dataloader=dict(sampler=dict(type='DefaultSampler')))


@pytest.mark.parametrize(
    ('by_epoch', 'length', 'stops', 'changes'),
    [
        (True, 3, (1, 4, 5, 7, 8, 12), {}),
        (True, 3, (6,), BF16),
        (True, 2, (6,), WORKERS),
        (True, 3, (5, 9), ACCUMULATE),
        (False, 11, (1, 4, 6, 9), {}),
        (False, 11, (3, 7), FINITE_SAMPLER),
        (False, 9, (5,), WORKERS),
    ],
)
def test_a_stopped_run_resumes_exactly(tmp_path, by_epoch, length, stops, changes):
    options = dict(by_epoch=by_epoch, length=length, **changes)
    whole = toy_config(tmp_path / 'whole', **options)
    train_toy(whole)
    cfg, resume = toy_config(tmp_path / 'stopped', **options), None
    for step in stops:
        with pytest.raises(SystemExit) as stopped:
            train_toy(cfg, stop_at=step, resume=resume)
        assert stopped.value.code == 128 + signal.SIGTERM
        resume = newest_resumable(cfg.work_dir, pytest.fail)
        assert resume.endswith('interrupted.pth')
        assert torch.load(resume, weights_only=True)['meta']['iter'] == step
        cfg = toy_config(tmp_path / 'stopped', **options)
    train_toy(cfg, resume=resume)
    assert_same(final_checkpoint(cfg), states(final_checkpoint(whole)))


def test_accumulated_gradients_survive_a_kill(tmp_path):
    """Each epoch of four steps ends in the middle of an accumulation of three."""
    whole = toy_config(tmp_path / 'whole', length=3, **ACCUMULATE)
    train_toy(whole)
    for epoch in (1, 2):
        cfg = toy_config(tmp_path / 'again', length=3, **ACCUMULATE)
        train_toy(cfg, resume=f'{whole.work_dir}/epoch_{epoch}.pth')
        assert_same(final_checkpoint(cfg), states(final_checkpoint(whole)))


def test_a_checkpoint_within_an_epoch_resumes_there(tmp_path):
    saver = dict(type='CheckpointHook', interval=3, by_epoch=False)
    options = dict(length=3, default_hooks=dict(checkpoint=saver))
    train_toy(toy_config(tmp_path / 'whole', **options))
    for iteration in (3, 6, 9):
        cfg = toy_config(tmp_path / f'again_{iteration}', **options)
        train_toy(cfg, resume=str(tmp_path / f'whole/iter_{iteration}.pth'))
        assert_same(f'{cfg.work_dir}/iter_12.pth', states(tmp_path / 'whole/iter_12.pth'))


@pytest.mark.parametrize('by_epoch', [True, False])
def test_images_already_trained_on_are_not_loaded_again(tmp_path, by_epoch):
    options = dict(by_epoch=by_epoch, length=2 if by_epoch else 8)
    whole = toy_config(tmp_path / 'whole', **options)
    ToyDataset.loaded.clear()
    train_toy(whole)
    expected = list(ToyDataset.loaded)
    cfg = toy_config(tmp_path / 'stopped', **options)
    with pytest.raises(SystemExit):
        train_toy(cfg, stop_at=3)
    ToyDataset.loaded.clear()
    path = newest_resumable(cfg.work_dir, pytest.fail)
    train_toy(toy_config(tmp_path / 'stopped', **options), resume=path)
    assert ToyDataset.loaded == expected[12:]
    assert len(expected[12:]) >= 16


def test_loader_processes_change_nothing(tmp_path):
    alone = toy_config(tmp_path / 'alone', length=2)
    train_toy(alone)
    workers = toy_config(tmp_path / 'workers', length=2, **WORKERS)
    train_toy(workers)
    assert_same(final_checkpoint(workers), states(final_checkpoint(alone)))


def test_noise_differs_between_images_epochs_and_seeds(tmp_path):
    drawn = []
    original = ToyDataset.__getitem__

    def remember(self, index):
        item = original(self, index)
        drawn.append(float(item['inputs'][0]) + index + 1)
        return item

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ToyDataset, '__getitem__', remember)
        train_toy(toy_config(tmp_path / 'a', length=2))
        train_toy(toy_config(tmp_path / 'b', length=2, seed=4))
    assert len({round(value, 5) for value in drawn}) == len(drawn) == 2 * 2 * 14


def test_a_run_without_a_seed_keeps_the_one_it_drew(tmp_path):
    cfg = toy_config(tmp_path / 'stopped', length=2, seed=None)
    with pytest.raises(SystemExit):
        train_toy(cfg, stop_at=3)
    path = newest_resumable(cfg.work_dir, pytest.fail)
    seed = torch.load(path, weights_only=True)['meta']['seed']
    cfg = toy_config(tmp_path / 'stopped', length=2, seed=None)
    train_toy(cfg, resume=path)
    whole = toy_config(tmp_path / 'whole', length=2, seed=seed)
    train_toy(whole)
    assert_same(final_checkpoint(cfg), states(final_checkpoint(whole)))


def test_another_batch_size_restarts_the_epoch(tmp_path):
    cfg = toy_config(tmp_path, length=1)
    with pytest.raises(SystemExit):
        train_toy(cfg, stop_at=3)
    ToyDataset.loaded.clear()
    path = newest_resumable(cfg.work_dir, pytest.fail)
    train_toy(toy_config(tmp_path, length=1, train_dataloader=dict(batch_size=7)), resume=path)
    assert sorted(ToyDataset.loaded) == list(range(14))


def test_the_log_history_continues(tmp_path):
    cfg = toy_config(tmp_path, length=2)
    train_toy(cfg)
    cfg = toy_config(tmp_path, length=3)
    runner = train_toy(cfg, resume=f'{tmp_path}/epoch_2.pth')
    history = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(history) == 12


def test_custom_loops_and_hooks_stay():
    cfg = toy_config('none')
    cfg.train_cfg = dict(type='MyLoop', max_epochs=1)
    cfg.default_hooks.checkpoint = dict(type='MyHook')
    cfg.custom_hooks = [
        dict(type='CheckInvalidLossHook'),
        dict(type='NonFiniteHook', max_in_a_row=2),
    ]
    cfg = make_robust().change(cfg)
    assert cfg.train_cfg.type == 'MyLoop'
    assert cfg.default_hooks.checkpoint.type == 'MyHook'
    assert cfg.custom_hooks == [dict(type='NonFiniteHook', max_in_a_row=2)]


@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'bfloat16'])
def test_a_killed_detector_resumes_exactly(sample_dataset, tmp_path, monkeypatch, amp):
    """SIGKILL in the second epoch; the resumed run has loader processes, the first had none."""
    config = write_config(tmp_path / 'whole.py', sample_dataset)
    run.train(config, work_dir=str(tmp_path / 'whole'), amp=amp)
    kill = f"custom_hooks.append(dict(type='SignalHook', signum={int(signal.SIGKILL)}, step=5))"
    killed = write_config(tmp_path / 'killed.py', sample_dataset, kill)
    work_dir = tmp_path / 'killed'
    result = subprocess.run(
        train_command(killed, '--work-dir', work_dir, '--amp' if amp else '--no-amp'),
        env=environment(),
        capture_output=True,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()[-3000:]
    assert [path.name for path in work_dir.glob('*.pth')] == ['epoch_1.pth']

    detect = machine.detect_machine
    monkeypatch.setattr(
        run, 'detect_machine', lambda **kwargs: replace(detect(**kwargs), max_workers=2)
    )
    run.train(config, work_dir=str(work_dir), resume='auto', amp=amp)
    assert_same(work_dir / 'epoch_2.pth', states(tmp_path / 'whole/epoch_2.pth'))


@pytest.mark.parametrize('fused', [False, True])
def test_optimizer_state_takes_the_memory_format_of_the_weights(fused):
    def step(conv, optimizer, memory_format):
        conv.to(memory_format=memory_format)
        for i in range(2):
            if optimizer.state:
                lay_out_state(OptimWrapper(optimizer))
            optimizer.zero_grad()
            weights = torch.linspace(0, 1 + i, 72).reshape(4, 2, 3, 3)
            (conv.weight * weights).sum().backward()
            optimizer.step()

    def build():
        torch.manual_seed(0)
        conv = torch.nn.Conv2d(2, 4, 3, bias=False)
        return conv, torch.optim.SGD(conv.parameters(), lr=0.1, momentum=0.9, fused=fused)

    expected, optimizer = build()
    step(expected, optimizer, torch.contiguous_format)
    step(expected, optimizer, torch.contiguous_format)
    found, first = build()
    step(found, first, torch.contiguous_format)
    second = torch.optim.SGD(found.parameters(), lr=0.1, momentum=0.9, fused=fused)
    second.load_state_dict(first.state_dict())
    step(found, second, torch.channels_last)
    assert second.state[found.weight]['momentum_buffer'].stride() == found.weight.stride()
    torch.testing.assert_close(found.weight, expected.weight)
