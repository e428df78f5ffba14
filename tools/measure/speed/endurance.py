"""Resident memory and open files over a long training run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from mbv2_backbone.common.messages import UserError

from .child import child_environment

_LINE = re.compile(r'(?:Epoch\(train\)\s+\[(\d+)\]|Iter\(train\)\s*)\[\s*(\d+)/\s*(\d+)\].*loss: ')
_MIB = 2**20
# What is allocated once (the optimizer's state, the first validation) is over by then.
WARMUP_SHARE = 0.25
MAX_GROWTH = 0.02  # growth of the memory from then to the end that counts as level


def endurance_rows(config: str, tool: Path, options: Sequence[str]) -> list[dict]:
    """Train in a separate process, and measure it whenever it logs an iteration.

    Args:
        config: The config.
        tool: Our tools/train.py.
        options: `key=value` overrides.

    Returns:
        One row per log line: `iteration`, `memory MiB` (resident) and `open files`.

    Raises:
        UserError: If the run fails.
    """
    command = [sys.executable, str(tool), config, '--cfg-options', *options]
    process = subprocess.Popen(
        command,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    run = psutil.Process(process.pid)
    rows, lines = [], []
    with process:
        for line in process.stdout:
            lines.append(line)
            if match := _LINE.search(line):
                epoch, step, length = (int(value or 1) for value in match.groups())
                memory, files = run.memory_info().rss / _MIB, run.num_fds()
                iteration = (epoch - 1) * length + step
                rows.append(
                    {'iteration': iteration, 'memory MiB': round(memory), 'open files': files}
                )
    if process.returncode != 0 or not rows:
        raise UserError(f'{" ".join(command)[:200]} failed:\n{"".join(lines)[-2000:]}')
    return rows


def growth(rows: Sequence[dict]) -> tuple[float, int]:
    """Return what grows after the first quarter.

    Returns:
        The growth of the memory as a share of it, by a least-squares line, and that of the number
        of open files.
    """
    begin = WARMUP_SHARE * rows[-1]['iteration']
    late = [row for row in rows if row['iteration'] >= begin]
    iterations = np.array([row['iteration'] for row in late])
    memory = np.array([row['memory MiB'] for row in late])
    slope = np.polyfit(iterations, memory, 1)[0] if len(late) > 1 else 0.0
    files = late[-1]['open files'] - late[0]['open files']
    return float(slope * (iterations[-1] - iterations[0]) / memory.mean()), files


def verdict(rows: Sequence[dict]) -> str:
    """Describe whether memory and open files stay level."""
    share, files = growth(rows)
    grows = [
        *(['memory'] if share > MAX_GROWTH else []),
        *(['the number of open files'] if files > 0 else []),
    ]
    judged = f'{" and ".join(grows)} keeps growing' if grows else 'memory and open files stay level'
    return (
        f'{judged}: from a quarter of {rows[-1]["iteration"]} iterations to the end, memory '
        f'{share:+.1%}, open files {files:+d}'
    )


def plot(rows: Sequence[dict], path: str, title: str) -> None:
    """Draw memory and open files against iterations into an image file."""
    import matplotlib as mpl

    mpl.use('Agg')
    from matplotlib import pyplot as plt

    iterations = [row['iteration'] for row in rows]
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(iterations, [row['memory MiB'] for row in rows], label='resident memory')
    axes.set(xlabel='iteration', ylabel='MiB', title=title)
    axes.set_ylim(0, 1.3 * max(row['memory MiB'] for row in rows))
    other = axes.twinx()
    other.plot(iterations, [row['open files'] for row in rows], 'C1', label='open files')
    other.set(ylabel='open files')
    other.set_ylim(0, 2 * max(row['open files'] for row in rows))
    figure.legend(loc='lower right', bbox_to_anchor=(0.88, 0.15))
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=120, bbox_inches='tight')
    plt.close(figure)
