"""Benchmark: training steps, their memory and their profile."""

import os

import pytest
import torch
from helpers.bench import SIZE, config, die, report_process
from helpers.paths import ROOT
from measure.speed import steps
from measure.speed.memory import memory_rows
from measure.speed.models import build_optimizer, build_random
from measure.speed.profile import profile_rows
from measure.speed.steps import StepJob, StepProcess
from measure.speed.training import ours_step, peer_step

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import detect_machine

pytestmark = pytest.mark.runtime


@pytest.mark.parametrize('peer', [None, 'mmdet', 'torchvision'])
def test_a_step_at_learning_rate_zero_keeps_the_weights(peer, monkeypatch):
    built = []
    step_of = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD,
        'step',
        lambda self, *args: (built.append(self), step_of(self, *args))[1],
    )
    cfg = config('ssdlite_mbv2_coco')
    make = ours_step if peer is None else lambda *args, **kw: peer_step(peer, *args, **kw)
    step = make(cfg, detect_machine(), batch_size=2, size=SIZE)
    step()
    params = [p for group in built[0].param_groups for p in group['params']]
    before = [p.detach().clone() for p in params]
    step()
    assert len(built) == 2
    assert all(torch.equal(p, old) for p, old in zip(params, before, strict=True))
    moved = [state['momentum_buffer'] for state in built[0].state.values()]
    assert sum(float(buffer.abs().sum()) for buffer in moved) > 0


def step_job(name, **kwargs):
    path = str(ROOT / 'configs' / f'{name}.py')
    return StepJob(path, **dict(batch_size=2, size=SIZE, threads=1) | kwargs)


def test_checkpointing_lowers_the_peak_memory_of_a_step():
    rows = memory_rows(step_job('ssdlite_mbv2_sample', batch_size=8, size=(192, 192)), ())
    step = {row['name']: row['step MiB'] for row in rows}
    assert list(step) == ['ours', 'ours, with_cp']
    assert 0 < step['ours, with_cp'] < 0.9 * step['ours']


def test_a_profile_names_what_takes_the_time():
    rows, notes = profile_rows(step_job('ssdlite_mbv2_sample', keeps_memory=False))
    assert 'aten::convolution_backward' in [row['name'] for row in rows[:3]]
    assert [row['ms'] for row in rows] == sorted((row['ms'] for row in rows), reverse=True)
    assert 'ms without the profiler' in notes[0]


def test_each_job_has_its_own_process():
    job = step_job('ssdlite_mbv2_sample', who='mmdet')
    process = StepProcess(job)
    first, again = process.ask(report_process), process.ask(report_process)
    assert first == again
    assert first[0] != os.getpid()
    assert first[1] == job


def test_a_process_that_dies_is_reported():
    with pytest.raises(UserError, match=r'process of mmdet died.*smaller --batch-size than 2'):
        StepProcess(step_job('ssdlite_mbv2_sample', who='mmdet')).ask(die)


def test_only_ours_keeps_freed_memory(monkeypatch):
    kept = []
    monkeypatch.setattr(steps, 'keep_freed_memory', lambda: kept.append(1))
    for wanted, kwargs in ((0, dict(who='mmdet')), (0, dict(keeps_memory=False)), (1, dict())):
        steps.build_step(step_job('ssdlite_mbv2_sample', **kwargs))
        assert len(kept) == wanted


def test_learning_rate_zero_is_for_every_group():
    cfg = config('ssdlite_mbv2_coco')
    optimizer = build_optimizer(build_random(cfg), cfg).optimizer
    assert {group['lr'] for group in optimizer.param_groups} == {0.0}
    assert cfg.optim_wrapper.optimizer.lr > 0
