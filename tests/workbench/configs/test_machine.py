"""Threads, memory and workers that a process uses."""

import os
from dataclasses import replace

import mmengine.device
import pytest
import torch
from helpers.bench import config
from mmengine.config import Config

from mbv2_backbone.workbench.configs import machine
from mbv2_backbone.workbench.configs.machine import detect_machine, fit_machine


@pytest.mark.parametrize(
    ('environment', 'allowed', 'expected'),
    [
        (dict(), 16, 16),
        (dict(LOCAL_WORLD_SIZE='8'), 16, 2),
        (dict(LOCAL_WORLD_SIZE='8', SLURM_NTASKS_PER_NODE='1'), 16, 2),
        (dict(LOCAL_WORLD_SIZE='8'), 4, 1),
        (dict(SLURM_NTASKS_PER_NODE='4'), 64, 16),
        (dict(SLURM_NTASKS_PER_NODE='4'), 12, 12),  # bound to its own cores
    ],
)
def test_processes_of_a_node_share_its_cores(environment, allowed, expected, monkeypatch):
    for name in ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(machine, 'cpu_count', lambda: allowed)
    monkeypatch.setattr(os, 'cpu_count', lambda: 64)
    assert machine.cores_of_process() == expected
    # On a CPU two cores are left for the network.
    left = expected if torch.cuda.is_available() else max(0, expected - 2)
    assert machine.detect_machine().max_workers == left


def test_machine_defaults():
    machine = detect_machine()
    if torch.cuda.is_available():
        assert (machine.device, machine.backend) == ('cuda', 'nccl')
    else:
        assert (machine.device, machine.backend) == ('cpu', 'gloo')
        assert detect_machine(amp=True).precision == 'bfloat16'
        assert detect_machine(amp=False).precision == 'float32'
    assert machine.channels_last
    loader = dict(num_workers=4, persistent_workers=True, prefetch_factor=2)
    cfg = Config(dict(train_dataloader=loader, optim_wrapper=dict(type='OptimWrapper')))
    cfg = fit_machine(replace(machine, max_workers=0, precision='float16')).change(cfg)
    assert cfg.train_dataloader == dict(num_workers=0, persistent_workers=False)
    assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', loss_scale='dynamic')
    assert not detect_machine(channels_last=False).channels_last


@pytest.mark.parametrize(
    ('flags', 'precision'),
    [
        ('avx512f avx512_bf16 avx512_vnni', 'bfloat16'),
        ('amx_tile amx_bf16', 'bfloat16'),
        ('avx512f avx512_vnni', 'float32'),
        (None, 'float32'),
    ],
)
def test_a_cpu_that_multiplies_in_bfloat16_trains_in_it(flags, precision, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, 'get_device', lambda: 'cpu')
    if flags is not None:
        (tmp_path / 'cpuinfo').write_text(f'model name\t: X\nflags\t\t: fpu {flags} sse\n')
    monkeypatch.setattr(machine, 'Path', lambda path: tmp_path / path.rpartition('/')[2])
    found = detect_machine()
    assert found.precision == precision
    assert f', {precision}, channels_last' in str(found)
    assert detect_machine(amp=False).precision == 'float32'


@pytest.mark.parametrize(
    ('device', 'backend', 'with_amp'),
    [
        ('npu', 'hccl', 'float16'),
        ('mlu', 'cncl', 'float16'),
        ('musa', 'mccl', 'float16'),
        ('mps', 'gloo', 'bfloat16'),
        ('a new one', 'gloo', 'bfloat16'),
    ],
)
def test_the_device_is_the_one_that_the_runner_uses(device, backend, with_amp, monkeypatch):
    """Names and backends are those of mmengine 0.10.12: device/utils.py, dist/utils.py.

    Its AmpOptimWrapper runs on CUDA, npu, mlu and musa. None of these devices was at hand.
    """
    assert detect_machine().device == mmengine.device.get_device()
    monkeypatch.setattr(machine, 'get_device', lambda: device)
    found = detect_machine()
    assert (found.device, found.backend, found.precision) == (device, backend, 'float32')
    assert detect_machine(amp=True).precision == with_amp
    assert not found.channels_last
    assert f'Running on {device} (untried: this project has run on cuda and cpu only)' in str(found)
    wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    planned = fit_machine(found).change(Config(dict(optim_wrapper=wrapper, sync_bn='torch')))
    assert planned.optim_wrapper == wrapper  # torch's fused optimizers are not on every device
    assert planned.env_cfg.dist_cfg.backend == backend
    assert ('sync_bn' in planned) == (backend != 'gloo')


@pytest.mark.parametrize(
    ('precision', 'expected'),
    [
        ('float32', dict(type='OptimWrapper')),
        ('bfloat16', dict(type='Bf16OptimWrapper')),
        ('float16', dict(type='AmpOptimWrapper', loss_scale='dynamic')),
    ],
)
def test_the_machine_decides_the_precision_of_a_config_with_amp(precision, expected):
    asked = dict(type='AmpOptimWrapper', loss_scale=512.0, dtype='float16')
    cfg = Config(dict(optim_wrapper=dict(asked, accumulative_counts=2)))
    cfg = fit_machine(replace(detect_machine(), precision=precision)).change(cfg)
    assert cfg.optim_wrapper == dict(expected, accumulative_counts=2)


@pytest.mark.parametrize(('device', 'pinned'), [('cuda', True), ('cpu', None)])
def test_only_for_a_gpu_memory_is_pinned(device, pinned):
    cfg = fit_machine(replace(detect_machine(), device=device)).change(config('ssdlite_mbv2_coco'))
    loaders = [cfg[f'{split}_dataloader'] for split in ('train', 'val', 'test')]
    assert [loader.get('pin_memory') for loader in loaders] == [pinned] * 3
    chosen = config('ssdlite_mbv2_coco', 'train_dataloader.pin_memory=False')
    machine = replace(detect_machine(), device=device)
    assert not fit_machine(machine).change(chosen).train_dataloader.pin_memory
