"""Run scripts in two processes, and hooks for what they do."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from helpers.paths import ROOT
from helpers.resume import environment
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import nn


def torchrun(script, *args, timeout=600):
    """Run a script in two processes."""
    command = [
        sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone',
        *map(str, (script, *args)),
    ]  # fmt: skip
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=timeout
    )


def torchrun_train(config, work_dir, *options, timeout=600):
    """Run `tools/train.py` in two processes."""
    args = (config, '--launcher', 'pytorch', '--work-dir', work_dir, *options)
    return torchrun(ROOT / 'tools/train.py', *args, timeout=timeout)


@HOOKS.register_module()
class FrozenNorms(Hook):
    """Keep batch norms from seeing the batch, of which each process has a different part."""

    priority = 'LOWEST'

    def before_train_iter(self, runner, **_):
        for module in runner.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


class Finalised:
    """Leave a file when a finalised Python deletes the variables of the program."""

    def __init__(self, path):
        self._path = Path(path)

    def __del__(self):
        self._path.touch()


@HOOKS.register_module()
class KeepGradients(Hook):
    """Write the gradients of the first step, and the ids of the evaluated images.

    With several processes, leave a file for each that is finalised.
    """

    def before_train(self, runner):
        path = Path(runner.work_dir, 'gradients.pth')
        if get_world_size() > 1:
            end = Finalised(f'{runner.work_dir}/finalised{get_rank()}')
            sys.modules['__main__'].finalised = end

        def write(optimizer, args, kwargs):
            if is_main_process() and not path.exists():
                model = getattr(runner.model, 'module', runner.model)
                torch.save({name: p.grad for name, p in model.named_parameters()}, path)

        runner.optim_wrapper.optimizer.register_step_pre_hook(write)
        metric = runner.val_loop.evaluator.metrics[0]
        compute = metric.compute_metrics

        def remember(results):
            ids = [prediction['img_id'] for _, prediction in results]
            Path(runner.work_dir, 'evaluated.json').write_text(json.dumps(ids))
            return compute(results)

        metric.compute_metrics = remember


@HOOKS.register_module()
class DieOnRankOne(Hook):
    def __init__(self, step):
        self.step = step

    def before_train_iter(self, runner, **_):
        if runner.iter + 1 == self.step and get_rank() == 1:
            raise RuntimeError('rank one has had enough')
