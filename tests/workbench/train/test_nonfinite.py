"""A step with a non-finite loss or gradient changes nothing, and its images are named."""

from itertools import pairwise

import pytest
import torch
from helpers.machine import needs_gpu
from helpers.nonfinite import INF, NAN, OPTIMIZERS, STAYS, Recorder, changed, log_of
from helpers.resume import toy_config, train_toy

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.train.nonfinite import Guard, NonFiniteHook


@pytest.mark.parametrize('optimizer', OPTIMIZERS, ids=str)
@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'Bf16OptimWrapper'])
@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
def test_a_bad_step_changes_nothing(tmp_path, optimizer, wrapper, clip):
    """Image 5 is NaN, and occurs in each of two epochs of four steps."""
    cfg = toy_config(
        tmp_path,
        length=2,
        log_level='WARNING',
        train_dataloader=dict(
            dataset=dict(bad={5: NAN}), sampler=dict(shuffle=False), batch_size=4
        ),
        optim_wrapper=dict(type=wrapper, optimizer=optimizer, clip_grad=clip),
    )
    recorder = Recorder()
    train_toy(cfg, hooks=[recorder])
    for step in (2, 6):
        assert {name.split('.')[-1] for name in changed(recorder, step)} <= STAYS
    for step in (3, 4, 5, 7, 8):
        names = changed(recorder, step)
        assert {'layers.0.weight', 'layers.1.running_mean', 'module.layers.0.weight'} <= names
    log = log_of(tmp_path)
    images = '4.jpg, 5.jpg, 6.jpg, 7.jpg'
    for step in (2, 6):
        assert f'Iteration {step} is skipped: its loss is not finite. Its images: {images}' in log
    assert log.count('is skipped') == 2


@pytest.mark.parametrize('how', ['gradient', 'infinite constant'])
def test_each_kind_of_fault_is_found(tmp_path, how):
    model = dict(type='Explodes', steps=(1, 3), how=how)
    recorder = Recorder()
    cfg = toy_config(tmp_path, length=1, log_level='WARNING', model=model)
    train_toy(cfg, hooks=[recorder])
    assert {name.split('.')[-1] for name in changed(recorder, 3)} <= STAYS
    assert len(changed(recorder, 4)) > 10
    kind = 'gradient' if how == 'gradient' else 'loss'
    assert f'Iteration 1 is skipped: its {kind} is not finite' in log_of(tmp_path)
    assert f'Iteration 3 is skipped: its {kind} is not finite' in log_of(tmp_path)


def test_an_accumulation_with_a_bad_batch_is_skipped(tmp_path):
    """Updates after batches 2 and 4 of each epoch; the bad image is in batch 1."""
    recorder = Recorder()
    cfg = toy_config(
        tmp_path,
        length=2,
        log_level='WARNING',
        train_dataloader=dict(dataset=dict(bad={1: INF}), sampler=dict(shuffle=False)),
        optim_wrapper=dict(accumulative_counts=2),
    )
    train_toy(cfg, hooks=[recorder])
    weights = [state['layers.0.weight'] for state in recorder.states]
    moved = [not torch.equal(a, b) for a, b in pairwise(weights)]
    assert moved == [False, False, True, False, False, False, True]
    assert all(t.isfinite().all() for state in recorder.states for t in state.values())
    assert 'Iteration 2 is skipped: its loss is not finite. Its images: 0.jpg, 1.jpg, 2.jpg' in (
        log_of(tmp_path)
    )


@pytest.mark.parametrize(
    ('bad', 'count', 'begin', 'expected'),
    [
        ({}, 1, 0, 4),
        ({0: NAN}, 1, 0, 3),
        ({0: NAN, 13: NAN}, 1, 0, 2),
        ({0: NAN}, 2, 0, 2),  # both batches of the update are undone
        ({4: NAN}, 2, 0, 3),  # the first one was good
        ({0: NAN, 4: NAN}, 2, 0, 2),
        ({0: NAN, 4: NAN}, 1, 3, 2),  # before averaging begins
    ],
)
def test_the_averages_count_only_kept_steps(tmp_path, bad, count, begin, expected):
    """Four batches, of images 0 to 3, 4 to 7, 8 to 11, and 12 and 13."""
    cfg = toy_config(
        tmp_path,
        length=1,
        train_dataloader=dict(dataset=dict(bad=bad), sampler=dict(shuffle=False)),
        optim_wrapper=dict(accumulative_counts=count),
    )
    cfg.custom_hooks[0].begin_iter = begin
    runner = train_toy(cfg)
    (average,) = (hook.ema_model for hook in runner.hooks if hasattr(hook, 'ema_model'))
    assert average.steps == expected


@pytest.mark.parametrize('optimizer', [one for one in OPTIMIZERS if one['fused']], ids=str)
def test_a_bad_first_step_leaves_the_optimizer_as_new(tmp_path, optimizer):
    """A fused SGD of torch would keep uninitialised memory as its momentum."""
    runs = []
    for fused in (True, False):
        cfg = toy_config(
            tmp_path / str(fused),
            length=1,
            model=dict(type='Explodes', steps=(1,)),
            optim_wrapper=dict(optimizer=dict(optimizer, fused=fused)),
        )
        runs.append(Recorder())
        train_toy(cfg, hooks=[runs[-1]])
    for name, value in runs[1].states[-1].items():
        torch.testing.assert_close(runs[0].states[-1][name], value, msg=name)


def test_many_in_a_row_end_the_run_with_files_and_checkpoint(tmp_path):
    bad = dict.fromkeys((8, 9, 12), NAN)
    options = dict(
        train_dataloader=dict(sampler=dict(shuffle=False)),
        custom_hooks=[
            dict(type='EMAHook', ema_type='MomentumAnnealingEMA'),
            dict(type='NonFiniteHook', max_in_a_row=3),
        ],
    )
    train_toy(toy_config(tmp_path, length=1, **options))
    good = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['state_dict']
    # Two bad steps at the end of each epoch are too few, until the first of the next is bad too.
    options['train_dataloader']['dataset'] = dict(bad=bad)
    train_toy(toy_config(tmp_path / 'few', length=3, **options))
    options['train_dataloader']['dataset'] = dict(bad=bad | {0: INF})
    with pytest.raises(UserError) as error:
        train_toy(toy_config(tmp_path, length=3, **options), resume=f'{tmp_path}/epoch_1.pth')
    said = str(error.value)
    assert '3 steps in a row, up to iteration 9' in said
    assert f'The last good checkpoint: {tmp_path}/epoch_2.pth' in said
    for name in ('8.jpg', '12.jpg', '0.jpg', '3.jpg'):
        assert name in said
    assert '4.jpg' not in said
    assert all(value.isfinite().all() for value in good.values())
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    for part in ('state_dict', 'ema_state_dict'):
        assert all(value.isfinite().all() for value in saved[part].values())


def test_a_good_run_is_the_same_with_and_without_the_guard(tmp_path):
    watched = Recorder()
    train_toy(toy_config(tmp_path / 'a', length=2), hooks=[watched])
    cfg, alone = toy_config(tmp_path / 'b', length=2), Recorder()
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'NonFiniteHook']
    train_toy(cfg, hooks=[alone])
    for name, value in alone.states[-1].items():
        assert torch.equal(value, watched.states[-1][name]), name


def test_the_number_in_a_row_must_be_positive():
    with pytest.raises(ValueError, match='1 or more, got 0'):
        NonFiniteHook(max_in_a_row=0)


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_gpu)])
def test_the_guard_saves_and_restores(device):
    tensors = [torch.rand(3, device=device), torch.rand(2, 4, 3, 3, device=device)]
    tensors[1] = tensors[1].to(memory_format=torch.channels_last)
    guard = Guard(tensors)
    for t in tensors:
        t.add_(1)
    guard.keep_or_restore(torch.tensor(False, device=device))
    good = [t.clone() for t in tensors]
    for _ in range(2):
        for t in tensors:
            t.fill_(NAN)
        guard.keep_or_restore(torch.tensor(True, device=device))
        assert all(torch.equal(t, g) for t, g in zip(tensors, good, strict=True))
    Guard([]).keep_or_restore(torch.tensor(True, device=device))
