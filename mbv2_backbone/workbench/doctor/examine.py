"""Run all checks in order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...common.messages import UserError
from ..checks.finding import Finding
from .hardware import check_gpu, check_shared_memory, check_workers, free_shared_memory, gpu_facts
from .installation import (
    check_compiled_ops,
    check_python,
    check_stack,
    check_torchvision,
    find_compiled_ops,
    installed_versions,
    torchvision_facts,
)

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..configs.machine import Machine


def examine_installation() -> Iterator[Finding]:
    """Check Python, the packages and the GPU."""
    versions = installed_versions()
    yield check_python()
    yield check_torchvision(versions, *torchvision_facts())
    yield from check_stack(versions)
    if 'torch' in versions:
        yield check_compiled_ops(find_compiled_ops(), versions['torch'])
        yield check_gpu(gpu_facts())


def examine_config(path: str, overrides: Sequence[str] | None = None) -> Iterator[Finding]:
    """Check a config, its data and whether the machine can train it."""
    from ..configs.read import load_config

    try:
        cfg = load_config(path, overrides)
    except UserError as error:
        yield Finding('error', str(error), 'see above')
        return
    from ..checks.config_data import check_config_data
    from ..configs.machine import cpu_count, detect_machine, fit_machine
    from ..configs.plan import apply_steps
    from ..configs.summary import summarise

    asked = cfg.get('train_dataloader', {}).get('num_workers', 0)
    machine = detect_machine()
    summary = summarise(cfg)
    cfg = apply_steps(cfg, [fit_machine(machine)])
    yield check_workers(asked, cpu_count(), has_gpu=machine.device == 'cuda')
    findings = check_config_data(cfg, summary)
    yield from findings
    if not any(finding.level == 'error' for finding in findings):
        yield from _examine_steps(cfg, machine)


def _examine_steps(cfg: Config, machine: Machine) -> Iterator[Finding]:
    from ..checks.broken_images import replace_broken
    from ..configs.plan import apply_steps
    from .speed import guess_time, measure_steps

    try:
        with tempfile.TemporaryDirectory() as folder:
            planned = apply_steps(cfg, [replace_broken(folder)])  # as in training
            times = measure_steps(planned, machine)
    except Exception as error:  # whatever it is, training would fail with it too
        yield Finding(
            'error',
            f'a training step fails: {type(error).__name__}: {error}',
            'python tools/train.py with this config shows where',
        )
        return
    loader, schedule = cfg.train_dataloader, cfg.get('train_cfg', {})
    yield check_shared_memory(
        free_shared_memory(), loader.num_workers, loader.batch_size * times.image_bytes
    )
    yield guess_time(
        times,
        workers=loader.num_workers,
        batch_size=loader.batch_size,
        max_iters=schedule.get('max_iters'),
        epochs=schedule.get('max_epochs'),
    )
