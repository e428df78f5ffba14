"""The inverted residual block of MobileNetV2 (paper, section 3.4 and figure 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..arch import BlockSpec
from .lean import LeanConvModule


def conv_factory(
    padding: str, norm_cfg: dict | None, act_cfg: dict | None
) -> Callable[..., ConvModule]:
    """Return a builder of convolution, norm and activation under one padding rule.

    Args:
        padding: `symmetric` (torch: `dilation * (kernel - 1) / 2` on each side) or `same`
            (TensorFlow: with stride 2, padding goes to the right and bottom first).
        norm_cfg: mmcv's config of the norm layer.
        act_cfg: mmcv's config of the activation; a call may pass a different one.
    """
    return partial(_build_conv, padding=padding, norm_cfg=norm_cfg, act_cfg=act_cfg)


def _build_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    padding: str,
    stride: int = 1,
    dilation: int = 1,
    **kwargs: dict | int | None,
) -> ConvModule:
    # The two rules differ only where a stride meets the border.
    follows_tensorflow = padding == 'same' and stride > 1
    return LeanConvModule(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        dilation=dilation,
        padding=dilation * (kernel_size - 1) // 2,
        conv_cfg=dict(type='Conv2dAdaptivePadding') if follows_tensorflow else None,
        **kwargs,
    )


class Expansion(nn.Module):
    """The expansion alone: the part of a block that remains if its `.expand` tap is the last.

    Args:
        spec: Channels of the block; see `arch.BlockSpec`.
        conv: Builder from `conv_factory`.
    """

    def __init__(self, spec: BlockSpec, *, conv: Callable[..., ConvModule]) -> None:
        super().__init__()
        self.expand_conv = conv(spec.in_channels, spec.mid_channels, 1)

    def expand(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, H, W)` to the expansion `(N, mid_channels, H, W)`."""
        return self.expand_conv(x)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1 without activation; add the input if shapes match.

    Parameter names are those of mmdet's block: `expand_conv`, `depthwise_conv`, `linear_conv`.

    Args:
        spec: Channels, expansion, stride and dilation; see `arch.BlockSpec`.
        conv: Builder from `conv_factory`.
        with_cp: Recompute activations in the backward pass to save memory. Running statistics
            are still updated only once.
    """

    def __init__(
        self, spec: BlockSpec, *, conv: Callable[..., ConvModule], with_cp: bool = False
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.has_shortcut = spec.stride == 1 and spec.in_channels == spec.out_channels
        mid_channels = spec.mid_channels
        expands = spec.expand_ratio != 1
        self.expand_conv = conv(spec.in_channels, mid_channels, 1) if expands else None
        self.depthwise_conv = conv(
            mid_channels,
            mid_channels,
            3,
            stride=spec.stride,
            dilation=spec.dilation,
            groups=mid_channels,
        )
        self.linear_conv = conv(mid_channels, spec.out_channels, 1, act_cfg=None)

    def expand(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, H, W)` to the expansion `(N, mid_channels, H, W)`."""
        return x if self.expand_conv is None else self.expand_conv(x)

    def project(self, expanded: Tensor, x: Tensor) -> Tensor:
        """Finish the block.

        Args:
            expanded: The result of `expand` on `x`, `(N, mid_channels, H, W)`.
            x: The block's input `(N, in_channels, H, W)`, for the shortcut.

        Returns:
            `(N, out_channels, ceil(H / stride), ceil(W / stride))`.
        """
        out = self.linear_conv(self.depthwise_conv(expanded))
        return x + out if self.has_shortcut else out

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, H, W)` to `(N, out_channels, H / stride, W / stride)`."""
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(
                lambda t: self.project(self.expand(t), t),
                x,
                use_reentrant=False,
                preserve_rng_state=False,
                context_fn=partial(_checkpoint_contexts, self),
            )
        return self.project(self.expand(x), x)


def _checkpoint_contexts(
    module: nn.Module,
) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _running_stats_kept(module)


@contextmanager
def _running_stats_kept(module: nn.Module) -> Iterator[None]:
    """Normalise by the batch without updating the running statistics a second time."""
    norms = [
        m
        for m in module.modules()
        if isinstance(m, _BatchNorm) and m.training and m.track_running_stats
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked -= 1
