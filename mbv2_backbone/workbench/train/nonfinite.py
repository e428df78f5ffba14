"""Skip steps whose loss or gradient is NaN or infinite, and name their images."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, compress
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ...common.messages import UserError, first_names
from ...weights.whole_model import last_checkpoint
from ..configs.machine import bare_model


class Guard:
    """Undoes what a bad step did to tensors, without waiting for the device.

    Args:
        tensors: Tensors that a step changes in place; their initial values are good.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        self._good = self._flat() if tensors else None

    def keep_or_restore(self, is_bad: Tensor) -> None:
        """Accept the values of the tensors, or restore the last accepted ones.

        Args:
            is_bad: Boolean scalar on the device of the tensors.
        """
        if not self._tensors:
            return
        if is_bad.is_cuda:
            self._good = torch.where(is_bad, self._good, self._flat())
            self._restore()
        elif is_bad:
            self._restore()
        else:
            self._good = self._flat()

    def _flat(self) -> Tensor:
        return torch.cat([tensor.detach().reshape(-1) for tensor in self._tensors])

    def _restore(self) -> None:
        parts = self._good.split([tensor.numel() for tensor in self._tensors])
        good = [part.view(t.shape) for part, t in zip(parts, self._tensors, strict=True)]
        with torch.no_grad():
            torch._foreach_copy_(self._tensors, good)


@dataclass
class Window:
    """The batches since the last update of the weights.

    Attributes:
        bad_losses: Boolean scalars: whether the loss of a batch is not finite.
        taken_back: Whether a batch's changes to statistics and averages were undone; for the last
            batch this says whether the step is bad.
        images: Names of the images in each batch.
        averagings: How often each batch updated each of the averages.
    """

    bad_losses: list[Tensor] = field(default_factory=list)
    taken_back: list[Tensor] = field(default_factory=list)
    images: list[list[str]] = field(default_factory=list)
    averagings: list[list[int]] = field(default_factory=list)


class Step:
    """An update of the weights that the device may still be working on.

    Args:
        number: The iteration, from 1.
        window: The batches that it consists of.
    """

    def __init__(self, number: int, window: Window) -> None:
        self.number = number
        self.images = window.images
        self._averagings = window.averagings
        self._flags = torch.stack([*window.bad_losses, *window.taken_back])
        self._is_done = None
        if self._flags.is_cuda:
            host = torch.empty_like(self._flags, device='cpu', pin_memory=True)
            self._flags = host.copy_(self._flags, non_blocking=True)
            self._is_done = torch.cuda.Event()
            self._is_done.record()

    def read(self) -> tuple[bool, list[str], list[list[int]]]:
        """Wait until the step is done.

        Returns:
            Whether it is bad; the images that may be the reason; `averagings` of the batches
            that were undone.
        """
        if self._is_done is not None:
            self._is_done.synchronize()
        flags = self._flags.tolist()
        bad_losses, taken_back = flags[: len(self.images)], flags[len(self.images) :]
        suspects = chain(*compress(self.images, bad_losses))
        return taken_back[-1], list(suspects), list(compress(self._averagings, taken_back))


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Skips steps whose loss or gradient is not finite, and stops after many in a row.

    Such a step changes no weight, no optimizer state, no average (EMA) and no running statistic
    of a batch norm. All processes skip the same steps. The hook does not wait for a CUDA device:
    each step is judged on the device, and the result is read when the next step is queued.

    With `AmpOptimWrapper` the loss scaler skips steps whose gradient overflows, as intended;
    those are not counted, only losses that are not finite.

    On a CUDA device the averages count a bad step until it is read and undone, one step later.

    Args:
        max_in_a_row: Number of consecutive bad steps that ends the run.

    Raises:
        UserError: After so many; names the images of the bad steps and the last good checkpoint.
    """

    priority = 80  # after EMAHook, before CheckpointHook

    def __init__(self, max_in_a_row: int = 10) -> None:
        if max_in_a_row < 1:
            raise ValueError(f'max_in_a_row must be 1 or more, got {max_in_a_row}')
        self._max_in_a_row = max_in_a_row

    def before_train(self, runner: Runner) -> None:
        """Start watching the model and the optimizer."""
        if not isinstance(runner.optim_wrapper, OptimWrapper):
            raise ValueError('NonFiniteHook works with one optimizer; remove it from custom_hooks')
        model = bare_model(runner.model)
        self._averages = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        averaged = [average.module.state_dict().values() for average in self._averages]
        tensors = [*model.buffers(), *(tensor for values in averaged for tensor in values)]
        self._guard = Guard([tensor for tensor in tensors if tensor.is_floating_point()])
        self._has_scaler = isinstance(runner.optim_wrapper, AmpOptimWrapper)
        self._in_a_row, self._bad_images = 0, {}
        self._window, self._pending = Window(), []
        self._bad_loss = torch.zeros((), dtype=torch.bool)
        optimizer = runner.optim_wrapper.optimizer
        self._handles = [
            model.register_forward_hook(self._see_losses),
            optimizer.register_step_pre_hook(self._judge_step),
        ]
        if not self._has_scaler:  # a scaler removes `found_inf` itself
            self._handles.append(optimizer.register_step_post_hook(_forget_found_inf))

    def before_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:  # noqa: ARG002
        """Start watching a batch."""
        self._bad_step = None
        self._averaged_before = [int(average.steps) for average in self._averages]

    def _see_losses(self, model: torch.nn.Module, args: Any, losses: Any) -> None:  # noqa: ARG002
        if model.training and isinstance(losses, dict):
            self._bad_loss = ~_total_loss(losses).isfinite()

    def _judge_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        is_bad = torch.stack([*self._window.bad_losses, self._bad_loss]).any()
        if not self._has_scaler:
            is_bad = is_bad | ~_are_gradients_finite(optimizer)
        self._bad_step = is_skipped = _of_any_process(is_bad)
        overflow = getattr(optimizer, 'found_inf', None)  # set for fused optimizers by the scaler
        if overflow is not None:
            is_skipped = is_skipped | overflow.bool()
        # If `found_inf` is 1, a fused step changes nothing; but the first one of SGD leaves
        # uninitialised memory as its momentum.
        if getattr(optimizer, '_step_supports_amp_scaling', False) and optimizer.state:
            optimizer.found_inf = is_skipped.float()
        elif is_skipped:
            optimizer.zero_grad(set_to_none=True)  # without gradients a step does nothing

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,  # noqa: ARG002
        data_batch: Any = None,
        outputs: dict | None = None,  # noqa: ARG002
    ) -> None:
        """Undo what a bad step did, and read the finished steps."""
        window, is_update = self._window, runner.optim_wrapper.should_update()
        window.bad_losses.append(self._bad_loss)
        window.images.append(_image_names(data_batch))
        before = zip(self._averages, self._averaged_before, strict=True)
        window.averagings.append([int(average.steps) - count for average, count in before])
        is_bad = self._bad_step
        if is_bad is None:  # no update, or one that the loss scaler skipped
            losses = window.bad_losses if is_update else [self._bad_loss]
            is_bad = _of_any_process(torch.stack(losses).any())
        self._guard.keep_or_restore(is_bad)
        window.taken_back.append(is_bad)
        if is_update:
            self._window = Window()
            self._pending.append(Step(runner.iter + 1, window))
            self._read(runner, newest=not is_bad.is_cuda)

    def after_train_epoch(self, runner: Runner) -> None:
        """Read all steps."""
        self._read(runner, newest=True)

    def after_train(self, runner: Runner) -> None:  # noqa: ARG002
        """Stop watching."""
        for handle in self._handles:
            handle.remove()

    def _read(self, runner: Runner, *, newest: bool) -> None:
        count = len(self._pending) - (0 if newest else 1)
        steps, self._pending = self._pending[:count], self._pending[count:]
        for step in steps:
            is_bad, suspects, undone = step.read()
            for counts in undone:
                for average, count in zip(self._averages, counts, strict=True):
                    average.steps -= count
            if is_bad:
                self._report(runner, step, suspects)
            else:
                self._in_a_row, self._bad_images = 0, {}

    def _report(self, runner: Runner, step: Step, suspects: list[str]) -> None:
        of_all = all_gather_object((suspects, list(chain(*step.images))))
        names = list(chain(*(suspects for suspects, _ in of_all)))
        what = 'loss' if names else 'gradient'
        names = names or list(chain(*(images for _, images in of_all)))
        self._in_a_row += 1
        self._bad_images |= dict.fromkeys(names)
        runner.logger.warning(
            f'Iteration {step.number} is skipped: its {what} is not finite. Its images: '
            f'{_listed(names)}'
        )
        if self._in_a_row >= self._max_in_a_row:
            last = last_checkpoint(runner.work_dir)
            raise UserError(
                f'{self._in_a_row} steps in a row, up to iteration {step.number}, had a loss or '
                f'gradient that is not finite. Their images: {_listed(list(self._bad_images))}. '
                f'The last good checkpoint: {last or "none was saved yet"}. Look at these images '
                f'and their annotations, or lower the learning rate, and continue with --resume'
            )


def _total_loss(losses: dict[str, Any]) -> Tensor:
    """Sum all losses of a step, as mmengine does; values not named a loss are skipped."""
    total = 0
    for name, value in losses.items():
        if 'loss' in name:
            parts = [value] if isinstance(value, Tensor) else value
            total = total + sum(part.detach().float().sum() for part in parts)
    return torch.as_tensor(total)


def _of_any_process(flag: Tensor) -> Tensor:
    if get_world_size() == 1:
        return flag
    number = flag.int()
    all_reduce(number, 'max')
    return number.bool()


def _are_gradients_finite(optimizer: torch.optim.Optimizer) -> Tensor:
    grads = [p.grad for group in optimizer.param_groups for p in group['params']]
    norms = torch._foreach_norm([grad for grad in grads if grad is not None])
    return torch.stack(norms).isfinite().all()


def _forget_found_inf(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ARG001
    vars(optimizer).pop('found_inf', None)


def _image_names(data_batch: Any) -> list[str]:
    samples = data_batch.get('data_samples', ()) if isinstance(data_batch, dict) else ()
    found = [sample.metainfo for sample in samples if hasattr(sample, 'metainfo')]
    return [str(info.get('img_path') or info.get('img_id')) for info in found]


def _listed(names: list[str]) -> str:
    return first_names(names, 16) or 'not known'
