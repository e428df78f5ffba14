"""Check that the machine can train: GPU, loader workers, shared memory."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..checks.finding import Finding

GOOD_WORKERS = 4
PREFETCHED = 2  # batches that each worker of torch's DataLoader prefetches
MIB = 2**20


@dataclass(frozen=True)
class GpuFacts:
    """The facts about the GPU.

    Attributes:
        has_driver: Whether NVIDIA's driver is installed.
        torch_cuda: The CUDA version that torch was built for; `None` for a CPU build.
        names: The GPUs that torch can use.
        device: The kind of device that mmengine uses.
    """

    has_driver: bool
    torch_cuda: str | None
    names: tuple[str, ...] = ()
    device: str = 'cpu'


def gpu_facts() -> GpuFacts:
    """Query the machine's GPU."""
    import torch

    has_driver = Path('/proc/driver/nvidia/version').exists() or bool(shutil.which('nvidia-smi'))
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = tuple(torch.cuda.get_device_name(i) for i in range(count))
    device = 'cpu'
    with suppress(ImportError):  # its absence is another finding
        from mmengine.device import get_device

        device = get_device()
    return GpuFacts(has_driver, torch.version.cuda, names, device)


def check_gpu(facts: GpuFacts) -> Finding:
    """Check that torch can use the GPU of the machine."""
    if facts.device not in ('cuda', 'cpu'):
        return Finding(
            'warning',
            f'training runs on {facts.device}, which mmengine chose; this project has run on CUDA '
            f'and CPUs only',
            'compare the first losses with those on a CPU, and tell us what you find',
        )
    if facts.names:
        return Finding('ok', f'CUDA {facts.torch_cuda} on {", ".join(facts.names)}')
    if not facts.has_driver:
        return Finding(
            'warning',
            'no CUDA: there is no NVIDIA driver, training runs on the CPU',
            'use a machine with a GPU, or a config for a CPU such as ssdlite_mbv2_sample.py',
        )
    if facts.torch_cuda is None:
        return Finding(
            'warning',
            'no CUDA: there is a GPU, but this torch is a CPU build',
            'pip install --force-reinstall torch torchvision',
        )
    return Finding(
        'warning',
        f'no CUDA: there is a driver, but torch, built for CUDA {facts.torch_cuda}, finds no '
        f'GPU; the driver is too old, or the GPU is hidden',
        'run nvidia-smi, update the driver, unset CUDA_VISIBLE_DEVICES; in a container: '
        'docker run --gpus all',
    )


def check_workers(asked: int, cores: int, *, has_gpu: bool) -> Finding:
    """Check that there are enough loader workers.

    Args:
        asked: `train_dataloader.num_workers` of the config.
        cores: CPU cores that this process may use.
        has_gpu: On a CPU the workers would take the cores that the network needs.
    """
    if not has_gpu:
        return Finding('ok', f'{cores} cores; on a CPU the tools choose the loader workers')
    good = min(GOOD_WORKERS, cores)
    option = f'--cfg-options train_dataloader.num_workers={good}'
    if asked < good:
        text = f'{asked} loader workers are too few to keep a GPU busy; there are {cores} cores'
        return Finding('warning', text, option)
    if asked > cores:
        text = f'{asked} loader workers on {cores} cores; the tools limit this to {cores}'
        return Finding('warning', text, 'give the process more cores')
    return Finding('ok', f'{asked} loader workers on {cores} cores')


def free_shared_memory() -> int | None:
    """Return the bytes free for passing batches; `None` if the system has no limit."""
    return shutil.disk_usage('/dev/shm').free if Path('/dev/shm').is_dir() else None


def check_shared_memory(free: int | None, workers: int, batch_bytes: int) -> Finding:
    """Check that the batches which workers prefetch fit into shared memory.

    Args:
        free: Bytes, or `None` if there is no limit.
        workers: Loader workers that will run.
        batch_bytes: Size of the images and masks of a batch.
    """
    needed = workers * (PREFETCHED + 1) * batch_bytes
    if free is None or workers == 0:
        return Finding('ok', 'shared memory is not needed or not limited')
    text = f'{free // MIB} MiB of shared memory free, {needed // MIB} MiB needed'
    if free < needed:
        fix = (
            f'docker run --shm-size={-(-2 * needed // MIB)}m, or mount -o remount,size=… '
            f'/dev/shm, or --cfg-options train_dataloader.num_workers=0'
        )
        return Finding('error', f'{text}: the loader workers would crash with a bus error', fix)
    return Finding('ok', text)
