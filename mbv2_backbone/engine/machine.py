"""Fitting a config to the machine: device, processes, precision, memory format, workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, on CPU and CUDA alike; it needs no loss scaling.

    mmengine's `AmpOptimWrapper` refuses to run without a GPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass under autocast."""
        device_type = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type, torch.bfloat16):
            yield


@dataclass(frozen=True)
class Machine:
    """What a run uses; printed as one line.

    Attributes:
        device: `cuda` or `cpu`.
        backend: Of torch.distributed: `nccl` or `gloo`.
        precision: `float32`, `bfloat16` or `float16` (with loss scaling).
        channels_last: Whether weights and activations are kept in that memory format.
        num_processes: Processes that train together.
        max_workers: Loader processes at most.
    """

    device: str
    backend: str
    precision: str
    channels_last: bool
    num_processes: int
    max_workers: int

    def __str__(self) -> str:
        name = torch.cuda.get_device_name() if self.device == 'cuda' else f'{cpu_count()} cores'
        memory_format = 'channels_last' if self.channels_last else 'contiguous'
        processes = (
            f'{self.num_processes} processes over {self.backend}'
            if self.num_processes > 1
            else '1 process'
        )
        return (
            f'Running on {self.device} ({name}), {processes}, {self.precision}, {memory_format}, '
            f'at most {self.max_workers} loader workers'
        )


def cpu_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def detect_machine(*, amp: bool | None = None, channels_last: bool | None = None) -> Machine:
    """Choose what fits this machine.

    Args:
        amp: Mixed precision. By default on for GPUs that compute in bfloat16, else off. Asked
            for, it is bfloat16 where the device has it and float16 with loss scaling elsewhere.
        channels_last: By default on.
    """
    has_cuda = torch.cuda.is_available()
    has_bf16 = not has_cuda or torch.cuda.get_device_capability() >= (8, 0)
    amp = (has_cuda and has_bf16) if amp is None else amp
    return Machine(
        device='cuda' if has_cuda else 'cpu',
        backend='nccl' if has_cuda else 'gloo',
        precision='float32' if not amp else 'bfloat16' if has_bf16 else 'float16',
        channels_last=True if channels_last is None else channels_last,
        num_processes=int(os.environ.get('WORLD_SIZE', 1)),
        max_workers=cpu_count(),
    )


def fit_config(cfg: Config, machine: Machine) -> None:
    """Write a machine's choices into a config, in place."""
    cfg.setdefault('env_cfg', {}).setdefault('dist_cfg', {})['backend'] = machine.backend
    if machine.precision == 'bfloat16':
        cfg.optim_wrapper.type = 'Bf16OptimWrapper'
    elif machine.precision == 'float16':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader and loader.get('num_workers', 0) > machine.max_workers:
            loader.num_workers = machine.max_workers


def to_memory_format(model: nn.Module, machine: Machine) -> None:
    """Put the weights into the machine's memory format; activations follow them."""
    if machine.channels_last:
        model.to(memory_format=torch.channels_last)
