"""Training loops that can resume exactly from any iteration."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn

from ...common.messages import UserError
from .seeding import seed_step


def placed_loader(config: dict, *, endless: bool) -> dict:
    """Return a loader's config with its batch sampler wrapped in a `PlacedBatchSampler`.

    Raises:
        ValueError: If it is a loader that was already built instead of a config.
    """
    if not isinstance(config, dict):
        raise ValueError(
            f'the training loop needs the config of a loader, got a {type(config).__name__}'
        )
    config = deepcopy(config)
    config['batch_sampler'] = dict(
        type='PlacedBatchSampler',
        batch_sampler=config.pop('batch_sampler', None),
        drop_last=config.pop('drop_last', False),
        endless=endless,
    )
    return config


def validate_if_due(loop: ResumableEpochLoop | ResumableIterLoop, done: int, end: int) -> None:
    """Validate if it is due at the present position of a loop, with separate random numbers.

    Args:
        loop: The loop.
        done: Finished epochs or iterations, whichever the loop counts.
        end: Their total number.
    """
    loop._decide_current_val_interval()
    is_due = done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)
    if loop.runner.val_loop is not None and is_due:
        seed_step(loop.runner.seed, get_rank(), loop.iter)
        loop.runner.val_loop.run()


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's `EpochBasedTrainLoop` that can start in the middle of an epoch.

    Attributes:
        first_batch: The first batch of the next epoch; `ResumeHook` sets it.
        batches_done: Finished batches of the current epoch.
        is_validation_cut: Whether the resumed run may have stopped before its validation was
            done; `ResumeHook` sets it.
    """

    is_validation_cut = False

    def __init__(self, runner: Runner, dataloader: dict, **kwargs: Any) -> None:
        super().__init__(runner, placed_loader(dataloader, endless=False), **kwargs)
        self.first_batch = self.batches_done = 0
        self.batches: Iterator | None = None

    def run(self) -> nn.Module:
        """Train from the current epoch on."""
        self.runner.call_hook('before_train')
        if self.is_validation_cut:
            validate_if_due(self, self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            validate_if_due(self, self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Iterate over the rest of an epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        first, self.first_batch = self.first_batch, 0
        self.dataloader.batch_sampler.start(
            (self.runner.seed, get_rank(), self._epoch), epoch=self._epoch, first=first
        )
        self.batches = iter(self.dataloader)
        for i, batch in enumerate(self.batches, first):
            self.run_iter(i, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self.batches_done = 0

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Run one step, with its own random numbers."""
        self.batches_done = idx + 1
        seed_step(self.runner.seed, get_rank(), self._iter)
        super().run_iter(idx, data_batch)


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """mmengine's `IterBasedTrainLoop` that does not load the batches it has already trained on.

    Attributes:
        is_validation_cut: See `ResumableEpochLoop`.
    """

    is_validation_cut = False

    def __init__(self, runner: Runner, dataloader: dict, **kwargs: Any) -> None:
        super().__init__(runner, placed_loader(dataloader, endless=True), **kwargs)
        _end_processes(getattr(self.dataloader_iterator, '_iterator', None))  # mmengine 0.10.7's
        self.batches: Iterator | None = None

    def run(self) -> nn.Module:
        """Train from the current iteration on."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        if self.is_validation_cut:
            validate_if_due(self, self._iter, self._max_iters)
        self.dataloader.batch_sampler.start(
            (self.runner.seed, get_rank()), epoch=0, first=self._iter
        )
        self.batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.batches))
            validate_if_due(self, self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_iter(self, data_batch: Any) -> None:
        """Run one step, with its own random numbers."""
        seed_step(self.runner.seed, get_rank(), self._iter)
        super().run_iter(data_batch)


def batches_per_epoch(runner: Runner) -> int:
    """Return the number of a process's batches in an epoch.

    Raises:
        UserError: If there is none, so that there would be nothing to learn from.
    """
    loader = runner.train_dataloader
    if not len(loader):
        raise UserError(empty_epoch(len(loader.dataset) // get_world_size()))
    return len(loader)


def empty_epoch(num_images: int) -> str:
    """Return the message about an epoch without a batch.

    Args:
        num_images: Training images of each process.
    """
    remedy = 'check the annotation files, and `classes` in the config'
    if num_images:
        remedy = (
            f'drop_last=True drops what does not fill one: set train_dataloader.batch_size to at '
            f'most {num_images}, or train_dataloader.drop_last=False'
        )
    return f'an epoch of {num_images} training images for each process has no batch; {remedy}'


def end_loader_processes(runner: Runner) -> None:
    """End the loader workers of training and validation.

    Otherwise the program waits for them when it exits, several seconds each.
    """
    loops = (runner._train_loop, runner._val_loop)
    loaders = [getattr(loop, 'dataloader', None) for loop in loops]
    iterators = [getattr(loops[0], 'batches', None)]
    iterators += [getattr(loader, '_iterator', None) for loader in loaders]
    for iterator in iterators:
        _end_processes(iterator)


def _end_processes(iterator: Any) -> None:
    if hasattr(iterator, '_shutdown_workers'):
        iterator._shutdown_workers()
