"""Peak memory of a training step, each model in its own process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

import psutil
import torch

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import detect_machine

from .steps import StepJob, StepProcess, build_once, build_step

STEPS = 2  # in the second one the optimizer's state exists
_RUNS = 3  # on a CPU: where a buffer finds room differs from process to process
_SMALL = (64, 64)
_MIB = 2**20


def num_runs() -> int:
    """Return of how many processes the middle one counts; a GPU's allocator repeats itself."""
    return 1 if detect_machine().device == 'cuda' else _RUNS


def memory_rows(job: StepJob, peers: Sequence[str]) -> list[dict]:
    """Measure ours, ours with `with_cp` and the peers; one row of MiB each, of the middle run.

    Args:
        job: The step of ours.
        peers: Of `mmdet`, `mmseg`, `torchvision`.

    Raises:
        UserError: If a process dies.
    """
    jobs = {
        'ours': job,
        'ours, with_cp': replace(job, with_cp=True),
        **{peer: replace(job, who=peer) for peer in peers},
    }
    rows = []
    for name, each in jobs.items():
        runs = [StepProcess(each).ask(peak_of_step) for _ in range(num_runs())]
        found = sorted(runs, key=itemgetter('step'))[len(runs) // 2]
        rows.append({'name': name, **{f'{key} MiB': value for key, value in found.items()}})
    return rows


def peak_of_step(job: StepJob) -> dict[str, int]:
    """Run training steps in this process, which keeps them for `run_step`, and measure them.

    Returns:
        MiB: `step`, the peak over what there was before the first step, and `peak`, the process's
        (CPU) or the allocator's (CUDA) in all.
    """
    build_step(replace(job, batch_size=2, size=_SMALL))()  # imports what a step needs
    step = build_once(job)
    has_cuda = detect_machine().device == 'cuda'
    if has_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        before = psutil.Process().memory_info().rss
        _forget_peak()
    for _ in range(STEPS):
        step()
    peak = torch.cuda.max_memory_allocated() if has_cuda else _peak_bytes()
    return dict(step=round((peak - before) / _MIB), peak=round(peak / _MIB))


def _forget_peak() -> None:
    """Let Linux's high-water mark of this process start from what is resident now."""
    with open('/proc/self/clear_refs', 'w', encoding='utf-8') as file:
        file.write('5')


def _peak_bytes() -> int:
    """Return the most that was resident since `_forget_peak`; psutil does not tell on Linux.

    Raises:
        UserError: If this system has no such figure.
    """
    try:
        with open('/proc/self/status', encoding='utf-8') as file:
            return next(int(line.split()[1]) for line in file if line.startswith('VmHWM:')) * 1024
    except (OSError, StopIteration) as error:
        raise UserError(
            f'the peak memory of a process is measured on Linux only: {error}'
        ) from error
