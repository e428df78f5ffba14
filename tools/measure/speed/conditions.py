"""The machine and versions that a measurement ran on."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Callable

import cv2
import torch

from mbv2_backbone.workbench.configs.machine import Machine, cpu_count
from mbv2_backbone.workbench.environment import cpu_name

_BUSY_LOAD = 0.5  # load per core
# Read when this is imported: afterwards the measurement itself is the load.
_LOAD_BEFORE = os.getloadavg()[0] if hasattr(os, 'getloadavg') else 0.0


def set_threads(threads: int | None) -> int:
    """Let torch and OpenCV compute on as many threads; `None` keeps torch's choice.

    Returns:
        The number of threads.
    """
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads if threads > 1 else 0)
    return threads


def synchronizer(machine: Machine) -> Callable[[], object] | None:
    """Return what waits for the machine's device, if it computes on its own."""
    return torch.cuda.synchronize if machine.device == 'cuda' else None


def describe(machine: Machine) -> dict:
    """Describe the machine: CPU, GPU, threads and how busy it is before the measurement."""
    load = _LOAD_BEFORE
    if load > _BUSY_LOAD * cpu_count():
        warnings.warn(
            f'the machine was busy (load {load:.1f} on {cpu_count()} cores): the times mean little',
            stacklevel=2,
        )
    return dict(
        cpu=cpu_name(),
        cores=cpu_count(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if machine.device == 'cuda' else None,
        load_before=round(load, 2),
        system=f'{platform.system()} {platform.machine()}',
        ours_runs_in=f'{machine.precision}, '
        f'{"channels_last" if machine.channels_last else "contiguous"}',
    )
