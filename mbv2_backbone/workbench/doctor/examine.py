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
    list_runtimes,
    list_writers,
    torchvision_facts,
    web_facts,
)

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..configs.machine import Machine
    from ..configs.summary import ConfigSummary


def examine_installation() -> Iterator[Finding]:
    """Check Python, the packages and the GPU."""
    versions = installed_versions()
    yield check_python()
    yield check_torchvision(versions, *torchvision_facts())
    yield from check_stack(versions)
    yield list_runtimes(versions)
    if 'torch' in versions:
        try:
            yield list_writers(versions, *web_facts())
        except UserError as error:
            yield Finding('warning', str(error), 'see above')
        yield check_compiled_ops(find_compiled_ops(), versions['torch'])
        yield check_gpu(gpu_facts())


def examine_config(path: str, overrides: Sequence[str] | None = None) -> Iterator[Finding]:
    """Check a config, its data and whether the machine can train it."""
    from ..checks.before_run import check_parts
    from ..configs.read import load_config

    try:
        notes: list[str] = []
        cfg = load_config(path, overrides, note=notes.append)
        check_parts(cfg, ('train', 'val'))
    except UserError as error:
        yield Finding('error', str(error), 'see above')
        return
    yield from (Finding('warning', note, 'nothing if this is intended') for note in notes)
    from ..checks.config_data import check_config_data
    from ..configs.machine import cpu_count, detect_machine
    from ..configs.summary import summarise

    asked = cfg.get('train_dataloader', {}).get('num_workers', 0)
    machine = detect_machine()
    summary = summarise(cfg)
    yield check_workers(asked, cpu_count(), has_gpu=machine.device != 'cpu')
    findings = check_config_data(cfg, summary)
    yield from findings
    if not any(finding.level == 'error' for finding in findings):
        yield from _examine_steps(cfg, summary, machine)


def _examine_steps(cfg: Config, summary: ConfigSummary, machine: Machine) -> Iterator[Finding]:
    from ..configs.length import schedule_problems, told
    from ..configs.plan import apply_steps
    from ..configs.start import Start
    from ..run import training_plan
    from ..train.loops import empty_epoch
    from .speed import guess_time, measure_steps, work_in

    try:
        with tempfile.TemporaryDirectory() as folder:
            steps = [work_in(folder), *training_plan(summary, machine, start=Start())]
            planned = apply_steps(cfg, steps)
            times = measure_steps(planned, machine)
    except Exception as error:  # whatever it is, training would fail with it too
        yield Finding(
            'error',
            f'a training step fails: {type(error).__name__}: {error}',
            'python tools/train.py with this config shows where',
        )
        return
    loader, schedule = planned.train_dataloader, planned.get('train_cfg', {})
    batches, rest = divmod(times.num_images, loader.batch_size)
    batches += bool(rest) and not loader.get('drop_last')
    if not batches and schedule.get('max_epochs'):
        yield Finding('error', empty_epoch(times.num_images), 'see above')
    elif problems := schedule_problems(planned, batches):
        yield Finding('warning', told(problems), 'see above')
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
