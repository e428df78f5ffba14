"""An optimizer's groups of parameters: one for each kind of settings."""

from __future__ import annotations

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MergedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with all parameters of the same settings in one group.

    With `paramwise_cfg` mmengine makes a group of every parameter, and an optimizer takes its
    groups one by one. The settings, and so the training, stay the same.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Add the groups of a module and of those inside it to `params`, in place."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:  # of a module inside; the outermost one merges
            return
        merged: dict[tuple, dict] = {}
        for group in params:
            settings = tuple(sorted((k, v) for k, v in group.items() if k != 'params'))
            merged.setdefault(settings, dict(settings, params=[]))['params'] += group['params']
        params[:] = merged.values()
