"""Train on a batch of one image, whose 1x1 maps have one value for each channel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..configs.machine import bare_model


class SingleImageHook(Hook):
    """Trains batches of one image, which batch norm refuses if a map has one pixel."""

    priority = 'VERY_HIGH'
    _is_told = False

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,  # noqa: ARG002
        data_batch: Any = None,
    ) -> None:
        """Prepare the model if the batch has one image."""
        self._stack = ExitStack()
        if not isinstance(data_batch, dict) or len(data_batch.get('inputs', ())) != 1:
            return
        self._stack.enter_context(single_values_allowed(bare_model(runner.model)))
        if not self._is_told:
            self._is_told = True
            runner.logger.info(
                'A batch of one image: batch norms of maps of one pixel use their running '
                'statistics for it'
            )

    def after_train_iter(self, *_: Any, **__: Any) -> None:
        """Undo it."""
        self._stack.close()


@contextmanager
def single_values_allowed(model: nn.Module) -> Iterator[None]:
    """Let batch norms use their running statistics where a channel has one value, until the exit.

    Its variance would be 0; torch raises an error instead. Where several processes share their
    statistics, there are more values, and nothing is changed.
    """
    switched: list[nn.Module] = []

    def before(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if norm.training and inputs[0].numel() == inputs[0].shape[1]:
            norm.training = False
            switched.append(norm)

    def after(norm: nn.Module, *_: Any) -> None:
        if norm in switched:
            norm.training = True
            switched.remove(norm)

    with ExitStack() as stack:
        for norm in model.modules():
            shares = isinstance(norm, nn.SyncBatchNorm) and get_world_size() > 1
            if isinstance(norm, _BatchNorm) and norm.track_running_stats and not shares:
                stack.callback(norm.register_forward_pre_hook(before).remove)
                stack.callback(norm.register_forward_hook(after).remove)
        yield
