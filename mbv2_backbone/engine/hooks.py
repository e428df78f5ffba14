"""Hooks of the training loop."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's `RuntimeInfoHook` that reads the losses only when they are logged.

    The stock hook calls `.item()` on every loss after every step, and so waits for the GPU each
    time. The logged values are the same; of several processes, whose images differ, they are the
    mean.
    """

    def before_train(self, runner: Runner) -> None:
        """Prepare; see mmengine."""
        super().before_train(runner)
        self._pending: list[tuple[str, torch.Tensor]] = []
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._interval = min((hook.interval for hook in loggers), default=10)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,  # noqa: ARG002
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Keep the losses of a step; hand all over when the logger is due."""
        for name, value in (outputs or {}).items():
            scalar = torch.as_tensor(value).detach().float().reshape(())
            self._pending.append((f'train/{name}', scalar))
        if (
            self.every_n_inner_iters(batch_idx, self._interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or self.is_last_train_iter(runner)
        ):
            self._flush(runner)

    def before_val(self, runner: Runner) -> None:
        """Hand over what is left, then see mmengine."""
        self._flush(runner)
        super().before_val(runner)

    def _flush(self, runner: Runner) -> None:
        pending, self._pending = getattr(self, '_pending', []), []
        if not pending:
            return
        names, scalars = zip(*pending, strict=True)
        values = torch.stack(scalars)
        all_reduce(values, 'mean')
        for name, value in zip(names, values.tolist(), strict=True):
            runner.message_hub.update_scalar(name, value)
