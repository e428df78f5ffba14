"""Peak memory of a training step, each model in a process of its own.

python -m mbv2_backbone.bench.memory '{"config": …, "who": "ours", …}' prints one JSON line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from .inputs import Size

STEPS = 2  # the second has the optimizer's state beside it
_MIB = 2**20


def memory_rows(
    config: str,
    peers: Sequence[str],
    *,
    batch_size: int,
    size: Size,
    threads: int,
    cfg_options: Sequence[str] = (),
) -> list[dict]:
    """Measure ours, ours with `with_cp` and the peers; a row of MiB each.

    Raises:
        UserError: If a process fails.
    """
    common = dict(
        config=config,
        batch_size=batch_size,
        size=list(size),
        threads=threads,
        cfg_options=list(cfg_options),
    )
    rows = []
    for name, job in {
        'ours': dict(who='ours'),
        'ours, with_cp': dict(who='ours', with_cp=True),
        **{peer: dict(who=peer) for peer in peers},
    }.items():
        found = _in_process(common | job)
        rows.append({'name': name, **{f'{key} MiB': value for key, value in found.items()}})
    return rows


def _in_process(job: dict) -> dict:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', __spec__.name, json.dumps(job)],
        env=dict(os.environ, PYTHONPATH=path),
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise UserError(
            f'measuring the memory of {job["who"]} failed with exit code {result.returncode} '
            f'(negative: killed, perhaps for memory; try a smaller --batch-size):\n'
            f'{result.stderr[-2000:]}'
        )
    return json.loads(result.stdout.strip().splitlines()[-1])


def peak_of_step(job: dict) -> dict[str, int]:
    """Run training steps in this process and measure them.

    Returns:
        MiB: `step`, the peak over what there was before the first step, and `peak`, the process's
        (CPU) or the allocator's (CUDA) in all.
    """
    import torch

    from ..engine.config import load_config
    from ..engine.machine import detect_machine, keep_freed_memory
    from .machine import set_threads
    from .training import ours_step, peer_step

    set_threads(job['threads'])
    machine = detect_machine()
    cfg = load_config(job['config'], job['cfg_options'] or None)
    args = dict(batch_size=job['batch_size'], size=tuple(job['size']))
    if job['who'] == 'ours':
        if machine.device == 'cpu':
            keep_freed_memory()
        step = ours_step(cfg, machine, with_cp=job.get('with_cp', False), **args)
    else:
        step = peer_step(job['who'], cfg, machine, **args)
    if machine.device == 'cuda':
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        before = _status('VmRSS')
        _forget_peak()
    for _ in range(STEPS):
        step()
    peak = torch.cuda.max_memory_allocated() if machine.device == 'cuda' else _status('VmHWM')
    return dict(step=round((peak - before) / _MIB), peak=round(peak / _MIB))


def _forget_peak() -> None:
    """Let Linux's high-water mark of this process start from what is resident now."""
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')


def _status(key: str) -> int:
    """Return an entry of /proc/self/status in bytes.

    Raises:
        UserError: If this system has none.
    """
    try:
        with open('/proc/self/status') as file:
            values = [line.split()[1] for line in file if line.startswith(f'{key}:')]
    except OSError as error:
        raise UserError(f'peak memory on a CPU is measured on Linux only: {error}') from error
    return int(values[0]) * 1024


if __name__ == '__main__':
    print(json.dumps(peak_of_step(json.loads(sys.argv[1]))))
