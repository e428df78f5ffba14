"""Adapt a config to the machine: device, processes, precision, memory format, workers."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_reduce
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import nn

from ...compat.prepare import cpu_wrapper
from .plan import step
from .read import type_name

# From glibc's malloc.h; the limit is the largest int.
_M_MXFAST, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = 1, -1, -3
_MALLOC_LIMIT = 2**31 - 1

TRIED = ('cuda', 'cpu')  # mmengine also knows npu, mlu, mps, dipu and musa
_BACKENDS = dict(cuda='nccl', npu='hccl', mlu='cncl', musa='mccl')  # as mmengine chooses them
_FLOAT16 = ('npu', 'mlu', 'musa')  # there mixed precision is mmengine's, in float16

FUSED_OPTIMIZERS = ('SGD', 'Adam', 'AdamW')  # torch updates all weights in one call


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, on CPU and CUDA; it needs no loss scaling.

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
    """The hardware settings of a run; printed as one line.

    Attributes:
        device: `cuda`, `cpu` or another that mmengine knows.
        backend: Backend of torch.distributed, such as `nccl` or `gloo`.
        precision: `float32`, `bfloat16` or `float16` (with loss scaling).
        channels_last: Whether weights and activations are kept in that memory format.
        num_processes: Number of processes that train together.
        max_workers: Maximum number of loader workers per process.
    """

    device: str
    backend: str
    precision: str
    channels_last: bool
    num_processes: int
    max_workers: int

    def __str__(self) -> str:
        name = f'untried: this project has run on {" and ".join(TRIED)} only'
        if self.device in TRIED:
            is_gpu = self.device == 'cuda'
            name = torch.cuda.get_device_name() if is_gpu else f'{cpu_count()} cores'
        memory_format = 'channels_last' if self.channels_last else 'contiguous'
        processes = (
            f'{self.num_processes} processes over {self.backend}'
            if self.num_processes > 1
            else '1 process'
        )
        loading = (
            f'at most {self.max_workers} loader workers'
            if self.max_workers
            else 'loading in the training process'
        )
        return (
            f'Running on {self.device} ({name}), {processes}, {self.precision}, {memory_format}, '
            f'{loading}'
        )


def cpu_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def cores_of_process() -> int:
    """Return this process's share of the cores if several processes train on one node."""
    if 'LOCAL_WORLD_SIZE' in os.environ:  # torchrun's processes share its cores
        return max(1, cpu_count() // int(os.environ['LOCAL_WORLD_SIZE']))
    # Slurm may have bound each task to its own cores already.
    tasks = int(os.environ.get('SLURM_NTASKS_PER_NODE', 1))
    return max(1, min(cpu_count(), os.cpu_count() // tasks))


def computes_in_bf16() -> bool:
    """Return whether the CPU multiplies in bfloat16: by AVX-512 BF16 or AMX, as Linux lists them.

    Without them torch computes in bfloat16 too, but no faster than in float32.
    """
    try:
        flags = Path('/proc/cpuinfo').read_text(encoding='utf-8').split()
    except OSError:
        return False
    return 'avx512_bf16' in flags or 'amx_bf16' in flags


def detect_machine(*, amp: bool | None = None, channels_last: bool | None = None) -> Machine:
    """Choose the settings that fit this machine; the device is the one that mmengine's Runner uses.

    Args:
        amp: Mixed precision; by default on for GPUs and CPUs that compute in bfloat16, else off.
            If on, it is bfloat16 if the device supports it, else float16 with loss scaling.
        channels_last: Use the channels_last memory format; by default on for CUDA and CPUs.
    """
    device = get_device()
    has_bf16 = device not in _FLOAT16
    if device == 'cuda':
        has_bf16 = torch.cuda.get_device_capability() >= (8, 0)
    if amp is None:
        amp = has_bf16 if device == 'cuda' else device == 'cpu' and computes_in_bf16()
    return Machine(
        device=device,
        backend=_BACKENDS.get(device, 'gloo'),
        precision='float32' if not amp else 'bfloat16' if has_bf16 else 'float16',
        channels_last=device in TRIED if channels_last is None else channels_last,
        num_processes=int(os.environ.get('WORLD_SIZE', 1)),
        # On a CPU the loaders would take the cores that the network computes on.
        max_workers=max(0, cores_of_process() - (2 if device == 'cpu' else 0)),
    )


@step('processes', 'Sets the launcher and how the processes communicate.')
def launch(cfg: Config, launcher: str, machine: Machine) -> None:
    """Write the launcher and the settings for several processes into a config.

    Args:
        cfg: The config.
        launcher: `none`, `pytorch`, `slurm` or `mpi`.
        machine: The hardware settings of the run.
    """
    cfg.launcher = launcher
    if launcher == 'pytorch' and machine.device == 'cpu':
        cfg.setdefault('model_wrapper_cfg', cpu_wrapper(cfg))
    # With a fixed name, a second run in one process would draw into the first run's folder.
    cfg.get('visualizer', {}).pop('name', None)


@step('machine', 'Device, processes, precision and loader workers fit this machine.')
def fit_machine(cfg: Config, machine: Machine) -> None:
    """Write a machine's settings into a config."""
    hooks = cfg.get('default_hooks') or {}
    cfg.default_hooks = hooks | dict(runtime_info=dict(type='DeferredRuntimeInfoHook'))
    optimizer = cfg.get('optim_wrapper', {}).get('optimizer', {})
    is_fused = machine.device in TRIED and optimizer.get('type') in FUSED_OPTIMIZERS
    if is_fused and not optimizer.get('foreach'):
        optimizer.setdefault('fused', True)
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': machine.backend})
    wrapper = cfg.get('optim_wrapper')
    if wrapper and wrapper.get('paramwise_cfg'):
        wrapper.setdefault('constructor', 'MergedOptimWrapperConstructor')
    if wrapper and type_name(wrapper) == 'AmpOptimWrapper':
        wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fp64'):
            wrapper.pop(key, None)
    if machine.precision == 'bfloat16':
        cfg.optim_wrapper.type = 'Bf16OptimWrapper'
    elif machine.precision == 'float16':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if machine.backend == 'gloo':
        cfg.pop('sync_bn', None)  # torch's SyncBatchNorm runs on GPUs only
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader and machine.device == 'cuda':
            loader.setdefault('pin_memory', True)
        if loader and loader.get('num_workers', 0) > machine.max_workers:
            loader.num_workers = machine.max_workers
            if machine.max_workers == 0:
                loader.persistent_workers = False
                loader.pop('prefetch_factor', None)


def bare_model(model: nn.Module) -> nn.Module:
    """Return the model without its wrapper for several processes, if it has one."""
    return model.module if is_model_wrapper(model) else model


def to_memory_format(model: nn.Module, machine: Machine) -> None:
    """Convert the weights to the machine's memory format; activations follow them."""
    if machine.channels_last:
        model.to(memory_format=torch.channels_last)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step instead of returning it to the kernel.

    A training step on a CPU frees and allocates hundreds of large buffers; by default each is
    mapped and zeroed again, and page faults limit the speed. Small blocks are joined with what is
    free beside them at once, so that large buffers find room again; `tools/train.py` also turns off
    the cache that would prevent it. Other C libraries are not changed.
    """
    if not sys.platform.startswith('linux'):
        return
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MALLOC_LIMIT)
        mallopt(_M_TRIM_THRESHOLD, _MALLOC_LIMIT)
        mallopt(_M_MXFAST, 0)


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's `RuntimeInfoHook` that reads the losses only when they are logged.

    The stock hook calls `.item()` on every loss after every step, which waits for the GPU each
    time. The logged values are the same; with several processes, whose images differ, they are
    the mean.
    """

    def before_train(self, runner: Runner) -> None:
        """Set up the pending losses; see mmengine."""
        super().before_train(runner)
        self._pending: list[tuple[str, torch.Tensor]] = []
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._interval = min((hook.interval for hook in loggers), default=10)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,  # noqa: ARG002
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Keep the losses of a step; pass all of them on when the logger is due."""
        for name, value in (outputs or {}).items():
            scalar = torch.as_tensor(value).detach().float().reshape(())
            self._pending.append((f'train/{name}', scalar))
        if (
            self.every_n_inner_iters(batch_idx, self._interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or self.is_last_train_iter(runner)
        ):
            self._flush(runner)

    def before_val(self, runner: Runner) -> None:
        """Pass on the remaining losses; see mmengine."""
        self._flush(runner)
        super().before_val(runner)

    def _flush(self, runner: Runner) -> None:
        pending, self._pending = getattr(self, '_pending', []), []
        if not pending:
            return
        names, scalars = zip(*pending, strict=True)
        values = torch.stack(scalars)
        all_reduce(values, 'mean')
        for name, value in zip(names, values.tolist(), strict=True):
            runner.message_hub.update_scalar(name, value)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MergedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with one group for all parameters that have the same settings.

    With `paramwise_cfg` mmengine makes one group per parameter, and an optimizer processes its
    groups one by one. The settings, and so the training, stay the same.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Add the groups of a module and of those inside it to `params`, in place."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:  # a nested module; the outermost one merges
            return
        merged: dict[tuple, dict] = {}
        for group in params:
            settings = tuple(sorted((k, v) for k, v in group.items() if k != 'params'))
            merged.setdefault(settings, dict(settings, params=[]))['params'] += group['params']
        params[:] = merged.values()
