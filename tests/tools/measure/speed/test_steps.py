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
from measure.speed.roofline import Meter, roofline_rows
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


def test_a_roofline_bounds_each_operator_by_its_arithmetic_and_its_memory():
    rows, notes = roofline_rows(step_job('ssdlite_mbv2_sample', amp=False, keeps_memory=False))
    whole, *parts = rows
    by_name = {row['name']: row for row in parts}
    assert whole['name'] == 'all operators'
    assert [row['ms'] for row in parts] == sorted((row['ms'] for row in parts), reverse=True)
    assert whole['ms'] >= sum(row['ms'] for row in parts) - 1
    assert whole['bound ms'] >= max(row['bound ms'] for row in parts)
    assert {'convolution, 1x1', 'convolution_backward, 1x1'} <= by_name.keys()
    assert by_name['convolution, 1x1']['GFLOP/s'] > 0
    assert 'in float32 GFLOP/s (1x1 convolutions' in notes[1]


def test_operators_are_counted_by_hand():
    # 2 x 8 outputs of 4 x 4 pixels, each of 3 x 3 x 6 products, two FLOPs each
    x, weight = torch.ones(2, 6, 6, 6, requires_grad=True), torch.ones(8, 6, 3, 3)
    weight.requires_grad_()
    with Meter({torch.float32: 1e9}, 1e9) as meter:
        torch.conv2d(x, weight).sum().backward()
    forward = 2 * 2 * 8 * 16 * 54
    cost = meter.costs['convolution, 3x3']
    assert (cost.calls, cost.flops) == (1, forward)
    assert cost.bytes == 4 * (2 * 6 * 36 + 8 * 54 + 2 * 8 * 16)
    assert cost.bound == max(cost.flops, cost.bytes) / 1e9
    assert meter.costs['convolution_backward, 3x3'].flops == 2 * forward

    depthwise = torch.ones(6, 1, 3, 3)
    with Meter({torch.float32: 1e9}, 1e9) as meter:
        torch.conv2d(x.detach(), depthwise, groups=6)
        torch.conv2d(x.detach()[:, :1], weight.detach()[:, :1])
        torch.ones(3, 4) @ torch.ones(4, 5)
        torch.ones(2, 3).view(3, 2)
    assert meter.costs['convolution, depthwise 3x3'].flops == 2 * 2 * 6 * 16 * 9
    assert meter.costs['convolution, 3x3'].flops == forward / 6  # one channel is not depthwise
    assert meter.costs['mm'].flops == 2 * 3 * 4 * 5
    assert meter.costs['mm'].bytes == 4 * (12 + 20 + 15)
    assert 'view' not in meter.costs


def test_transposed_convolutions_are_counted_by_hand():
    # 2 x 6 inputs of 5 x 5 pixels, each of 3 x 3 x 8 products
    x, weight = torch.ones(2, 6, 5, 5), torch.ones(6, 8, 3, 3, requires_grad=True)
    with Meter({torch.float32: 1e9}, 1e9) as meter:
        torch.conv_transpose2d(x, weight, stride=2).sum().backward()
    forward = 2 * 2 * 6 * 25 * 72
    assert meter.costs['convolution, 3x3'].flops == forward
    assert meter.costs['convolution_backward, 3x3'].flops == forward  # of the weight only


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
