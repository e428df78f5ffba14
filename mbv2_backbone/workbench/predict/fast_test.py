"""Evaluate as fast as predictions are made: batch norms folded, images decoded in advance."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..configs.machine import Machine
from .background import in_background
from .fold import folded_for

_AHEAD = 2  # batches that are loaded in advance


class FastTestHook(Hook):
    """Folds the model for the time of a test, and loads batches in a thread if no worker does.

    It runs after every other hook has put its weights into the model, as mmengine's `EMAHook` does.

    Args:
        machine: What the test runs on.
    """

    priority = 'LOWEST'

    def __init__(self, *, machine: Machine) -> None:
        self.machine = machine

    def before_test_epoch(self, runner: Runner) -> None:
        """Put the folded model, a copy, and the loader into the runner."""
        self.before = runner.model, runner.test_loop.dataloader
        model, loader = self.before
        if is_model_wrapper(model):  # of several processes, which exchange gradients alone
            model = model.module
        if hasattr(model, 'module'):  # test-time augmentation
            runner.model = copy(model)
            runner.model._modules = dict(model._modules)
            runner.model.module = folded_for(model.module, self.machine)
        else:
            runner.model = folded_for(model, self.machine)
        if loader.num_workers == 0:
            runner.test_loop.dataloader = LoadedAhead(loader)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:  # noqa: ARG002
        """Put the model and the loader back."""
        runner.model, runner.test_loop.dataloader = self.before


class LoadedAhead:
    """A loader without workers, whose next batches a thread loads while one is in use.

    Args:
        loader: The loader; everything but iteration is its own.
    """

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches in order."""
        return in_background(self.loader, ahead=_AHEAD)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)['loader'], name)
