"""Save and restore what mmengine's checkpoints lack for an exact resume."""

from __future__ import annotations

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..configs.machine import bare_model


@HOOKS.register_module()
class ResumeHook(Hook):
    """Saves and restores what mmengine does not.

    These are the sampler's seed, the position in the epoch, accumulated gradients, and whether a
    validation that is due at this position was done.

    For `ResumableEpochLoop` and `ResumableIterLoop`. Random numbers depend on the position in the
    run (see `seeding`); the rest is already in the checkpoint: weights, EMA, optimizer, loss
    scale, schedules, history.

    Gradients in the middle of an accumulation differ between processes; with several processes
    they are lost, as mmengine warns.
    """

    _validated_iter = -1

    def after_val_epoch(
        self,
        runner: Runner,
        metrics: dict[str, float] | None = None,  # noqa: ARG002
    ) -> None:
        """Remember the iteration at which the weights were validated."""
        self._validated_iter = runner.iter

    def before_train(self, runner: Runner) -> None:
        """Give the optimizer's state the memory format of the weights."""
        lay_out_state(runner.optim_wrapper)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the state to a checkpoint's `meta` and `gradients`."""
        loader = runner.train_dataloader
        meta = checkpoint['meta']
        is_inside = meta['epoch'] == runner.epoch  # at the end of an epoch it says epoch + 1
        done = getattr(runner.train_loop, 'batches_done', 0) if is_inside else 0
        meta.setdefault('batch_in_epoch', done)
        meta['is_validated'] = self._validated_iter == meta['iter']
        meta['batches_per_epoch'] = len(loader)
        meta['sampler_seed'] = getattr(_sampler(runner), 'seed', None)
        if not runner.optim_wrapper.should_update() and get_world_size() == 1:
            checkpoint['gradients'] = {
                name: param.grad.cpu()
                for name, param in bare_model(runner.model).named_parameters()
                if param.grad is not None
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Restore the state from a checkpoint that is resumed."""
        if not runner._resume:
            return
        meta = checkpoint['meta']
        if meta.get('sampler_seed') is not None:
            _sampler(runner).seed = meta['sampler_seed']
        for name, param in bare_model(runner.model).named_parameters():
            if name in checkpoint.get('gradients', {}):
                gradient = checkpoint['gradients'][name]
                param.grad = torch.empty_like(param).copy_(gradient)
        loop = runner.train_loop
        loop.is_validation_cut = not meta.get('is_validated', True)
        if not hasattr(loop, 'first_batch'):  # an iteration-based loop uses `iter`
            return
        first = meta.get('batch_in_epoch', 0)
        if first:
            loop.is_validation_cut = False  # it is due at the end of the epoch
        if first and meta['batches_per_epoch'] != len(runner.train_dataloader):
            runner.logger.warning(
                f'The checkpoint was saved after {first} of {meta["batches_per_epoch"]} batches of '
                f'an epoch, which now has {len(runner.train_dataloader)}; this epoch starts again '
                f'from the beginning.'
            )
            first = 0
        loop.first_batch = first


def lay_out_state(optim_wrapper: OptimWrapper | OptimWrapperDict) -> None:
    """Give the state of each weight the memory format of the weight, in place.

    A fused step reads both in memory order; a checkpoint may come from a run in the other format.
    """
    wrappers = getattr(optim_wrapper, 'optim_wrappers', dict(only=optim_wrapper)).values()
    for wrapper in wrappers:
        for param, state in wrapper.optimizer.state.items():
            for key, value in state.items():
                if torch.is_tensor(value) and value.shape == param.shape:
                    state[key] = torch.empty_like(param, dtype=value.dtype).copy_(value)


def _sampler(runner: Runner) -> object:
    return runner.train_dataloader.batch_sampler.sampler
