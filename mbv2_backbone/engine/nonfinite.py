"""Steps whose loss or gradient is NaN or infinite are left out, and the images named."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ..errors import UserError
from .checkpoint import last_checkpoint
from .machine import bare_model

_MAX_NAMED = 16


class Guard:
    """Takes back what a bad step did to tensors, without waiting for the device.

    Args:
        tensors: Changed in place by a step; at the beginning they are good.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        self._good = self._flat() if tensors else None

    def keep_or_restore(self, is_bad: Tensor) -> None:
        """Accept the values of the tensors, or put the last accepted ones back.

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
class Step:
    """What is read once the device has done a step.

    Attributes:
        number: The iteration, from 1.
        flags: Boolean `(1 + K,)`: whether the step is bad, and the loss of each of its K batches.
        images: Names of the images in each batch.
        is_done: Recorded on the device after `flags`; `None` on a CPU.
    """

    number: int
    flags: Tensor
    images: list[list[str]]
    is_done: torch.cuda.Event | None = None

    def read(self) -> tuple[bool, list[str]]:
        """Return whether the step is bad, and the images that may be the reason."""
        if self.is_done is not None:
            self.is_done.synchronize()
        is_bad, *losses = self.flags.tolist()
        suspects = [names for names, bad in zip(self.images, losses, strict=True) if bad]
        return is_bad, list(chain(*suspects))


@dataclass
class Window:
    """The batches since the last update of the weights."""

    bad_losses: list[Tensor] = field(default_factory=list)
    images: list[list[str]] = field(default_factory=list)


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Leaves out steps whose loss or gradient is not finite, and stops after many in a row.

    Of such a step nothing stays: no weight, no state of the optimizer, no average (EMA) and no
    running statistic of a batch norm is changed. Several processes leave out the same steps. A
    CUDA device is not waited for: each step is judged on it, and read when the next is queued.

    Under `AmpOptimWrapper` the loss scaler leaves out steps whose gradient overflows, as it must;
    those are not counted, only a loss that is not finite is.

    Args:
        max_in_a_row: So many bad steps one after the other end the run.

    Raises:
        UserError: It names the images of the bad steps and the last good checkpoint.
    """

    priority = 80  # after EMAHook, before CheckpointHook

    def __init__(self, max_in_a_row: int = 10) -> None:
        if max_in_a_row < 1:
            raise ValueError(f'max_in_a_row must be 1 or more, got {max_in_a_row}')
        self._max_in_a_row = max_in_a_row

    def before_train(self, runner: Runner) -> None:
        """Watch the model and the optimizer."""
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
        self._bad_loss = self._bad_step = torch.zeros((), dtype=torch.bool)
        self._handles = [model.register_forward_hook(self._see_losses)]
        if not self._has_scaler:
            optimizer = runner.optim_wrapper.optimizer
            self._handles += [
                optimizer.register_step_pre_hook(self._judge_step),
                optimizer.register_step_post_hook(_forget_found_inf),
            ]

    def _see_losses(self, model: torch.nn.Module, args: Any, losses: Any) -> None:  # noqa: ARG002
        if model.training and isinstance(losses, dict):
            self._bad_loss = ~_total_loss(losses).isfinite()

    def _judge_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        grads = [p.grad for group in optimizer.param_groups for p in group['params']]
        norms = torch.stack(torch._foreach_norm([grad for grad in grads if grad is not None]))
        bad_loss = torch.stack([*self._window.bad_losses, self._bad_loss]).any()
        self._bad_step = _of_any_process(bad_loss | ~norms.isfinite().all())
        if self._bad_step.is_cuda and getattr(optimizer, '_step_supports_amp_scaling', False):
            # torch's loss scaler tells fused optimizers in this way to leave all as it is.
            optimizer.found_inf, optimizer.grad_scale = self._bad_step.float(), None
        elif self._bad_step:
            optimizer.zero_grad(set_to_none=True)  # without gradients a step does nothing

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,  # noqa: ARG002
        data_batch: Any = None,
        outputs: dict | None = None,  # noqa: ARG002
    ) -> None:
        """Take back what a bad step did, and read the steps that are done."""
        self._window.bad_losses.append(self._bad_loss)
        self._window.images.append(_image_names(data_batch))
        if not runner.optim_wrapper.should_update():
            self._guard.keep_or_restore(self._bad_loss)
            return
        window, self._window = self._window, Window()
        if self._has_scaler:
            self._bad_step = _of_any_process(torch.stack(window.bad_losses).any())
        self._guard.keep_or_restore(self._bad_step)
        self._pending.append(
            _step(runner.iter + 1, torch.stack([self._bad_step, *window.bad_losses]), window.images)
        )
        self._read(runner, newest=not self._bad_step.is_cuda)

    def after_train_epoch(self, runner: Runner) -> None:
        """Read all steps."""
        self._read(runner, newest=True)

    def after_train(self, runner: Runner) -> None:  # noqa: ARG002
        """Watch no more."""
        for handle in self._handles:
            handle.remove()

    def _read(self, runner: Runner, *, newest: bool) -> None:
        count = len(self._pending) - (0 if newest else 1)
        steps, self._pending = self._pending[:count], self._pending[count:]
        for step in steps:
            is_bad, suspects = step.read()
            if is_bad:
                self._report(runner, step, suspects)
            else:
                self._in_a_row, self._bad_images = 0, {}

    def _report(self, runner: Runner, step: Step, suspects: list[str]) -> None:
        for average in self._averages:
            average.steps -= 1
        of_all = all_gather_object((suspects, list(chain(*step.images))))
        names = list(chain(*(suspects for suspects, _ in of_all)))
        what = 'loss' if names else 'gradient'
        names = names or list(chain(*(images for _, images in of_all)))
        self._in_a_row += 1
        self._bad_images |= dict.fromkeys(names)
        runner.logger.warning(
            f'Iteration {step.number} is left out: its {what} is not finite. Its images: '
            f'{_listed(names)}'
        )
        if self._in_a_row >= self._max_in_a_row:
            last = last_checkpoint(runner.work_dir)
            raise UserError(
                f'{self._in_a_row} steps in a row, up to iteration {step.number}, had a loss or '
                f'gradient that is not finite. Their images: {_listed(list(self._bad_images))}. '
                f'The last good checkpoint: {last or "none was saved yet"}. Look at these images '
                f'and their annotations, or lower the learning rate, and go on with --resume'
            )


def _total_loss(losses: dict[str, Any]) -> Tensor:
    """Sum all losses of a step, as mmengine does; what is not called a loss is left out."""
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


def _forget_found_inf(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ARG001
    for name in ('found_inf', 'grad_scale'):
        vars(optimizer).pop(name, None)


def _step(number: int, flags: Tensor, images: list[list[str]]) -> Step:
    if not flags.is_cuda:
        return Step(number, flags, images)
    done = torch.cuda.Event()
    copy = torch.empty_like(flags, device='cpu', pin_memory=True).copy_(flags, non_blocking=True)
    done.record()
    return Step(number, copy, images, done)


def _image_names(data_batch: Any) -> list[str]:
    samples = data_batch.get('data_samples', ()) if isinstance(data_batch, dict) else ()
    found = [sample.metainfo for sample in samples if hasattr(sample, 'metainfo')]
    return [str(info.get('img_path') or info.get('img_id')) for info in found]


def _listed(names: list[str]) -> str:
    more = f' and {len(names) - _MAX_NAMED} more' if len(names) > _MAX_NAMED else ''
    return (', '.join(names[:_MAX_NAMED]) or 'not known') + more
