"""Estimate the training time of a config from a few real steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS

from ..checks.finding import Finding
from ..configs.machine import Machine, to_memory_format
from ..configs.plan import step

MAX_BATCH = 4  # enough for an estimate, and small enough for a CPU
STEPS = 3


@dataclass(frozen=True)
class StepTimes:
    """Measured times.

    Attributes:
        load: Seconds to load and transform one image, in one process.
        step: Seconds of a training step, per image of the batch.
        image_bytes: Size of an image and its mask as the loader returns them.
        num_images: Images per epoch.
    """

    load: float
    step: float
    image_bytes: int
    num_images: int


@step('work directory', 'What a trial of a few steps writes does not get into a run.')
def work_in(cfg: Config, folder: str) -> None:
    """Step: use another work directory."""
    cfg.work_dir = folder


def measure_steps(cfg: Config, machine: Machine) -> StepTimes:
    """Load real images and train on them for a few steps, with random weights."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    size = max(2, min(MAX_BATCH, cfg.train_dataloader.batch_size))  # batch norm needs two
    dataset[0]  # one-time loading is not counted
    begin = time.perf_counter()
    samples = [dataset[i % len(dataset)] for i in range(size)]
    load = (time.perf_counter() - begin) / size

    model = MODELS.build(cfg.model).to(machine.device).train()
    to_memory_format(model, machine)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    batch = pseudo_collate(samples)
    times = []
    for _ in range(1 + STEPS):
        begin = time.perf_counter()
        model.train_step(batch, wrapper)
        if machine.device != 'cpu':
            torch.get_device_module(machine.device).synchronize()
        times.append(time.perf_counter() - begin)
    tensors = [samples[0]['inputs']]
    masks = getattr(samples[0]['data_samples'], 'gt_sem_seg', None)
    if masks is not None:
        tensors.append(masks.data)
    return StepTimes(
        load=load,
        step=median(times[1:]) / size,
        image_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        num_images=len(dataset),
    )


def guess_time(
    times: StepTimes, *, workers: int, batch_size: int, max_iters: int | None, epochs: int | None
) -> Finding:
    """Estimate how long training takes, without validation.

    Args:
        times: Measured times.
        workers: Loader workers; 0 loads in the training process.
        batch_size: Batch size of one process.
        max_iters: Number of steps, if training is counted in steps.
        epochs: Number of epochs otherwise.
    """
    image = max(times.step, times.load / workers) if workers else times.step + times.load
    bound = 'loading' if workers and times.load / workers > times.step else 'computing'
    epoch = image * times.num_images
    whole = image * batch_size * max_iters if max_iters else epoch * (epochs or 1)
    return Finding(
        'ok',
        f'estimated from {STEPS} steps on {MAX_BATCH} images: {_duration(epoch)} an epoch of '
        f'{times.num_images} images, {_duration(whole)} in all, validation not counted; bound by '
        f'{bound} ({times.load * 1e3:.0f} ms to load an image, {times.step * 1e3:.0f} ms to train '
        f'on it)',
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 2 * 3600 else f'{seconds / 3600:.1f} h'
