"""What a process takes of its machine."""

import os

import pytest
import torch

from mbv2_backbone.engine import machine


@pytest.mark.parametrize(
    ('environment', 'allowed', 'expected'),
    [
        (dict(), 16, 16),
        (dict(LOCAL_WORLD_SIZE='8'), 16, 2),
        (dict(LOCAL_WORLD_SIZE='8', SLURM_NTASKS_PER_NODE='1'), 16, 2),
        (dict(LOCAL_WORLD_SIZE='8'), 4, 1),
        (dict(SLURM_NTASKS_PER_NODE='4'), 64, 16),
        (dict(SLURM_NTASKS_PER_NODE='4'), 12, 12),  # bound to cores of its own
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
    # On a CPU two cores are left to the network.
    left = expected if torch.cuda.is_available() else max(0, expected - 2)
    assert machine.detect_machine().max_workers == left
