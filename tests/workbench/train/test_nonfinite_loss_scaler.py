"""NaN and infinity with a loss scaler, which skips steps itself; and resuming with one."""

import pytest
import torch
from helpers.machine import needs_gpu
from helpers.nonfinite import NAN, OPTIMIZERS, STAYS, Recorder, changed, log_of
from helpers.resume import assert_same, states, toy_config, train_toy
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

SCALE = 2.0**4  # far from the limits of float16
WITH_SCALER = [
    'CpuAmpOptimWrapper',
    pytest.param('AmpOptimWrapper', marks=needs_gpu),
]


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's wrapper, which requires a GPU, with torch's loss scaler for CPUs."""

    def __init__(self, *, loss_scale, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler('cpu', **loss_scale)
        self.cast_dtype = torch.bfloat16


def amp(wrapper, optimizer, **scaler):
    """Return options of a run with a loss scaler of a few known scales."""
    scale = dict(init_scale=SCALE, **scaler)
    return dict(optim_wrapper=dict(type=wrapper, optimizer=optimizer, loss_scale=scale))


@pytest.mark.parametrize('wrapper', WITH_SCALER)
@pytest.mark.parametrize('optimizer', OPTIMIZERS, ids=str)
def test_steps_that_the_loss_scaler_skips_are_not_counted(tmp_path, wrapper, optimizer):
    hooks = [dict(type='EMAHook'), dict(type='NonFiniteHook', max_in_a_row=1)]
    options = dict(
        length=2,
        log_level='WARNING',
        model=dict(type='Explodes', steps=(1, 3, 4)),
        custom_hooks=hooks,
    )
    recorder, plain = Recorder(), Recorder()
    cfg = toy_config(tmp_path / 'a', **options, **amp(wrapper, optimizer))
    runner = train_toy(cfg, hooks=[recorder])
    for step in (3, 4):
        names = changed(recorder, step)
        assert 'layers.1.running_mean' in names  # as without our hook
        assert not any(name.startswith(('layers.0', 'layers.3', '0.')) for name in names)
    assert runner.optim_wrapper.loss_scaler.get_scale() == SCALE / 2**3
    assert 'is skipped' not in log_of(tmp_path / 'a')
    cfg = toy_config(tmp_path / 'b', **options, **amp(wrapper, dict(optimizer, fused=False)))
    train_toy(cfg, hooks=[plain])
    for name, value in plain.states[-1].items():
        torch.testing.assert_close(recorder.states[-1][name], value, msg=name)


@pytest.mark.parametrize('wrapper', WITH_SCALER)
@pytest.mark.parametrize('optimizer', OPTIMIZERS, ids=str)
@pytest.mark.parametrize('fault', ['infinite constant', 'NaN'])
def test_a_bad_loss_is_skipped_under_a_loss_scaler(tmp_path, wrapper, optimizer, fault):
    """The gradient of an infinite constant is finite, so the scaler sees nothing."""
    is_constant = fault == 'infinite constant'
    cfg = toy_config(
        tmp_path,
        length=1,
        log_level='WARNING',
        model=dict(type='Explodes', steps=(1, 3) if is_constant else (), how=fault),
        train_dataloader=dict(
            dataset=dict(bad={} if is_constant else {0: NAN, 8: NAN}), sampler=dict(shuffle=False)
        ),
        **amp(wrapper, optimizer),
    )
    recorder = Recorder()
    runner = train_toy(cfg, hooks=[recorder])
    assert {name.split('.')[-1] for name in changed(recorder, 3)} <= STAYS
    for step in (2, 4):
        assert step == 2 or {'layers.0.weight', 'layers.1.running_mean'} <= changed(recorder, step)
    for step in (1, 3):
        assert f'Iteration {step} is skipped: its loss is not finite' in log_of(tmp_path)
    scale = runner.optim_wrapper.loss_scaler.get_scale()
    assert scale == (SCALE if is_constant else SCALE / 4)


@pytest.mark.parametrize('wrapper', WITH_SCALER)
def test_the_scale_is_restored_on_resume(tmp_path, wrapper):
    """It doubles after every three good steps; the run is interrupted between two of these."""
    options = dict(length=3, **amp(wrapper, OPTIMIZERS[0], growth_interval=3))
    whole = train_toy(toy_config(tmp_path / 'whole', **options))
    with pytest.raises(SystemExit):
        train_toy(toy_config(tmp_path / 'cut', **options), stop_at=5)
    path = str(tmp_path / 'cut/interrupted.pth')
    saved = torch.load(path, weights_only=True)['optimizer']['loss_scaler']
    assert (saved['scale'], saved['_growth_tracker']) == (2 * SCALE, 2)
    resumed = train_toy(toy_config(tmp_path / 'cut', **options), resume=path)
    assert resumed.optim_wrapper.loss_scaler.get_scale() == SCALE * 2**4
    assert whole.optim_wrapper.loss_scaler.get_scale() == SCALE * 2**4
    assert_same(tmp_path / 'cut/epoch_3.pth', states(tmp_path / 'whole/epoch_3.pth'))
