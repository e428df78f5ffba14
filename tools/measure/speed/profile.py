"""Profile a training step."""

from __future__ import annotations

import time

from torch.profiler import ProfilerActivity, profile

from mbv2_backbone.workbench.configs.machine import detect_machine

from .conditions import synchronizer
from .steps import StepJob, build_step

WARMUP = 3
STEPS = 3
SHOWN = 15


def profile_rows(job: StepJob) -> tuple[list[dict], list[str]]:
    """Profile steps in this process.

    Args:
        job: The step.

    Returns:
        One row per operator, the slowest first: calls and milliseconds per step, without what it
        calls (on the GPU if there is one), and its share of the step; and notes.
    """
    machine = detect_machine(amp=job.amp)
    has_cuda = machine.device == 'cuda'
    wait = synchronizer(machine) or (lambda: None)
    step = build_step(job)
    for _ in range(WARMUP):
        step()
    wait()
    begin = time.perf_counter()
    for _ in range(STEPS):
        step()
    wait()
    milliseconds = 1000 * (time.perf_counter() - begin) / STEPS
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if has_cuda else [])]
    with profile(activities=activities) as profiler:
        for _ in range(STEPS):
            step()
        wait()
    events = profiler.key_averages()
    own = {
        event.key: (event.self_device_time_total if has_cuda else event.self_cpu_time_total)
        for event in events
    }
    total = sum(own.values())
    calls = {event.key: event.count for event in events}
    rows = [
        {
            'name': key,
            'calls': round(calls[key] / STEPS, 1),
            'ms': round(own[key] / STEPS / 1000, 2),
            'share': f'{own[key] / total:.1%}',
        }
        for key in sorted(own, key=own.get, reverse=True)[:SHOWN]
    ]
    notes = [f'a step takes {milliseconds:.1f} ms without the profiler']
    if has_cuda:
        busy = total / STEPS / 1000 / milliseconds
        notes.append(f'the GPU computes for {busy:.0%} of it and waits for the CPU for the rest')
    return rows, notes
