"""Workarounds for the toolboxes' own tools, needed where `mbv2 stock` runs them: one function each.

Each docstring opens with the reason, the versions concerned and when the function can go.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from .compat import join_cpu_processes


def prepare_stock_tools() -> None:
    """Do all of it; importing this package has done what everyone needs."""
    train_without_gpu()


@functools.cache
def train_without_gpu() -> None:
    """Let `--launcher pytorch` start several processes on a CPU.

    Reason, versions and when to delete: see `compat.join_cpu_processes`.
    """
    from mmengine.runner import Runner

    from_cfg = Runner.from_cfg.__func__

    def from_cfg_anywhere(cls: type[Runner], cfg: Any) -> Runner:
        if cfg.get('launcher') == 'pytorch' and not torch.cuda.is_available():
            join_cpu_processes(cfg)
        return from_cfg(cls, cfg)

    Runner.from_cfg = classmethod(from_cfg_anywhere)
